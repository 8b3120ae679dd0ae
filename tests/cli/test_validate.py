"""`rocoft validate` says how much memory a run will need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Command = Callable[..., Any]


def memory_line(out: str) -> str:
    return next(line for line in out.splitlines() if line.startswith("memory:"))


def test_of_one_run(rocoft: Command) -> None:
    line = memory_line(rocoft("validate", "glue/rte.yaml", "--set", "task.max_length=128").out)
    for part in ("GiB", "weights 475", "trained 4", "optimizer 7", "activations", "at 32 examples of 128 tokens"):
        assert part in line


def test_shorter_rows_take_less(rocoft: Command) -> None:
    long, short = (
        memory_line(rocoft("validate", "glue/rte.yaml", "--set", f"task.max_length={length}").out)
        for length in (512, 64)
    )
    assert float(short.split()[2]) < float(long.split()[2]) / 4


def test_of_a_sweep_the_smallest_and_the_largest(rocoft: Command, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("task: {family: glue, name: rte}\naxes: {method: [full, head-only, lora]}\n", encoding="utf-8")
    line = memory_line(rocoft("validate", file).out)
    assert line.index("(method head-only)") < line.index(" to ") < line.index("(method full)")


def test_a_model_that_is_not_here(rocoft: Command) -> None:
    outcome = rocoft("validate", "glue/rte.yaml", "--set", "model.name=someone/not-here")
    assert outcome.code == 0
    assert "unknown before the model's configuration is here (rocoft prefetch)" in memory_line(outcome.out)


def test_a_name_that_is_no_model(rocoft: Command) -> None:
    outcome = rocoft("validate", "glue/rte.yaml", "--set", "model.name=roberta-bse")
    assert outcome.code == 2
    assert "roberta-base" in outcome.err


def test_a_model_in_a_folder(rocoft: Command, tiny_model: Path) -> None:
    line = memory_line(rocoft("validate", "glue/rte.yaml", "--set", f"model.name={tiny_model}").out)
    assert "at 32 examples of 32 tokens" in line


def test_what_another_method_does_not_take_from_the_config_is_said(rocoft: Command) -> None:
    err = rocoft("validate", "glue/cola.yaml", "--set", "method=ia3").err
    assert "note: ia3 has its own learning rate 0.003" in err
    assert "note:" not in rocoft("validate", "glue/cola.yaml").err
