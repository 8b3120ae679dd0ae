"""`rocoft explain` names what was planted between two runs, and what a cell of the paper has otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.made_up import run_record, write_run

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, glue_dir: Path) -> dict[str, Path]:
    """A finished run with a head, and one that is asked in words."""
    from rocoft_bench.cli import app

    folder = tmp_path_factory.mktemp("runs")
    few = ["--epochs", "1", "--set", "task.max_train_rows=8"]
    glue = ["glue", "--task", "rte", "--model", str(tiny_model), "--data-dir", str(glue_dir)]
    asked = ["demo", "--task", "choices", "--model", "demo-llama", "--set", "task.max_eval_rows=4"]
    for name, options in (("glue", glue), ("asked", asked)):
        app(["train", *options, *few, "--output", str(folder / name)], standalone_mode=False)
    return {name: folder / name for name in ("glue", "asked")}


def edited(file: Path, changes: dict[str, Any]) -> None:
    """A JSON or YAML file with other values at dotted keys."""
    values = yaml.safe_load(file.read_text(encoding="utf-8"))
    for dotted, value in changes.items():
        *groups, key = dotted.split(".")
        inner = values
        for group in groups:
            inner = inner[group]
        inner[key] = value
    file.write_text(yaml.safe_dump(values) if file.suffix == ".yaml" else json.dumps(values), encoding="utf-8")


OTHER_DATA = {"data.train.sha256": "0" * 64, "data.train.path": "/elsewhere/train.jsonl"}

PLANTED: dict[str, tuple[str, str, dict[str, dict[str, Any]]]] = {
    "rate": ("glue", "training.learning_rate", {"config.yaml": {"training.learning_rate": 5e-4}}),
    "seed": ("glue", "seed", {"config.yaml": {"seed": 7}, "record.json": {"seed": 7}}),
    "data row": ("glue", "training rows", {"record.json": OTHER_DATA, "config.yaml": {"task.data_dir": "/elsewhere"}}),
    "template": ("asked", "template", {"record.json": {"prompt.template_version": "another"}}),
    "dropout": ("glue", "model.dropout", {"config.yaml": {"model.dropout": 0.25}}),
    "package": ("glue", "transformers", {"provenance.json": {"packages.transformers": "4.0.0"}}),
    "threads": ("glue", "torch_threads", {"provenance.json": {"hardware.torch_threads": 64}}),
    "protocol": (
        "asked",
        "protocol",
        {"config.yaml": {"task.protocol": "published"}, "record.json": {"protocol": "published: …"}},
    ),
    "head": ("glue", "model.head", {"config.yaml": {"model.head": "checkpoint"}}),
    "max_length": ("glue", "task.max_length", {"config.yaml": {"task.max_length": 24}}),
}
"""Of each planted difference the run that it is planted in, the name by which it is told, and the edits."""

ALWAYS = {
    "record.json": {"finished_at": "2030-01-01T00:00:00+00:00", "train_seconds": 99.0, "notes": ["something else"]},
    "provenance.json": {"command": ["rocoft", "again"], "hardware.memory_mib": 1},
}
"""What differs between any two runs as well."""


@pytest.mark.parametrize("planted", PLANTED)
def test_what_was_planted_is_named_first(planted: str, runs: dict[str, Path], tmp_path: Path, rocoft: Cli) -> None:
    run, name, edits = PLANTED[planted]
    other = tmp_path / "other"
    shutil.copytree(runs[run], other)
    for changes in (ALWAYS, edits):
        for file, values in changes.items():
            edited(other / file, values)
    result = rocoft("explain", runs[run], other)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    first = lines[next(index for index, line in enumerate(lines) if line.split() == ["is", "of", "A", "B"]) + 1]
    assert first.startswith(f"{name} ")


def test_equal_runs_have_nothing_that_could_change_numbers(runs: dict[str, Path], tmp_path: Path, rocoft: Cli) -> None:
    shutil.copytree(runs["glue"], tmp_path / "other")
    (tmp_path / "other" / "provenance.json").unlink()
    result = rocoft("explain", runs["glue"], tmp_path / "other")
    assert "nothing on record that could change numbers differs" in result.out
    assert "stated of A alone: torch_threads" in result.out
    assert "losses: the same at every step" in result.out
    assert "other predictions: 0 of 13" in result.out


def test_the_row_that_was_changed_is_named(runs: dict[str, Path], glue_dir: Path, tmp_path: Path, rocoft: Cli) -> None:
    changed = tmp_path / "data" / "glue" / "rte" / "train.jsonl"
    shutil.copytree(glue_dir, tmp_path / "data")
    lines = changed.read_text(encoding="utf-8").splitlines()
    lines[4] = json.dumps({**json.loads(lines[4]), "sentence1": "every dog runs"})
    changed.write_text("\n".join(lines), encoding="utf-8")
    config = yaml.safe_load((runs["glue"] / "config.yaml").read_text())
    options = ["--model", config["model"]["name"], "--data-dir", tmp_path / "data", "--epochs", 1]
    few = ["--set", "task.max_train_rows=8", "--output", tmp_path / "other"]
    assert rocoft("train", "glue", "--task", "rte", *options, *few).code == 0
    result = rocoft("explain", runs["glue"], tmp_path / "other")
    assert "40 and 40 train rows: 1 differ, the first is row 5" in result.out
    changed.unlink()
    assert "differ, the first" not in rocoft("explain", runs["glue"], tmp_path / "other").out


def test_statistics_and_the_first_examples(tmp_path: Path, rocoft: Cli) -> None:
    references = [index % 2 for index in range(40)]
    source = {"kind": "hub", "sha256": "rows"}
    data = {"train": source, "evaluation": source, "train_rows": 9, "eval_rows": 40}
    for name, given in (("a", references), ("b", [*references[:3], 1 - references[3], *references[4:]])):
        right = sum(x == y for x, y in zip(given, references, strict=True)) / 40
        write_run(tmp_path / name, run_record(metrics={"accuracy": right}, data=data), given, references, [2.0, right])
    result = rocoft("explain", tmp_path / "a", tmp_path / "b")
    assert "main metric: +2.50 points, 95 % interval" in result.out
    assert "the first that differs is that of step 2 (1 and 0.975)" in result.out
    assert "example 3  1          1  0" in result.out
    assert "other predictions: 1 of 40" in result.out
    answers = tmp_path / "b" / "predictions.jsonl"
    answers.write_text("".join(answers.read_text().splitlines(keepends=True)[:10]))  # cut off between two lines
    result = rocoft("explain", tmp_path / "a", tmp_path / "b")
    assert "predictions on record: 40 of A, 10 of B; as far as both go:" in result.out


def test_a_cell_of_the_paper(tmp_path: Path, rocoft: Cli) -> None:
    config = {
        "task": {"family": "glue", "name": "rte"},
        "model": {"name": "roberta-base", "dropout": 0.1, "norm_eps": 1e-5},
        "method": {"name": "rocoft", "mode": "row", "rank": 3, "selection": "random", "train_bias": True},
        "training": {"learning_rate": 1e-3, "epochs": 30, "batch_size": 32, "warmup_steps": 100},
    }
    write_run(tmp_path, run_record(), config=yaml.safe_dump(config))
    for cell in ("paper", "paper:table1/RoCoFT-3-Row/rte", "paper:rte"):
        result = rocoft("explain", tmp_path, cell)
        assert result.code == 0, result.err
        assert "paper:table1/roberta-base/RoCoFT-3-Row/rte" in result.out
        assert [line.split()[0] for line in result.out.splitlines() if " training " in line] == [
            "training.learning_rate"
        ]
        assert "millions" not in result.out
    other = rocoft("explain", tmp_path, "paper:LoRA")
    assert "RoCoFT-3-Row  LoRA" in other.out
    wrong = rocoft("explain", tmp_path, "paper:table1/LoRa-X/rte")
    assert wrong.code == 2
    assert 'did you mean "LoRA-XS"?' in wrong.err
    nowhere = rocoft("explain", tmp_path, tmp_path / "nowhere")
    assert nowhere.code == 2
    assert "no such run folder" in nowhere.err
