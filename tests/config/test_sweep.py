from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.config import read_sweep
from rocoft_bench.errors import UserError
from rocoft_bench.experiment import resolve

SWEEP = """
model: {name: roberta-large}
axes:
  config: [glue/rte.yaml, glue/mrpc.yaml]
  method: [full, {name: lora, rank: 4}, {name: rocoft, rank: 1}]
  training.epochs: [1, 2]
  seed: [5]
"""


def sweep_file(folder: Path, text: str = SWEEP) -> Path:
    file = folder / "sweep.yaml"
    file.write_text(text)
    return file


def test_runs_are_the_product_of_the_axes(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path))
    assert sweep is not None
    runs = [resolve(settings) for _, settings in sweep.runs()]
    found = [
        (run.task.name, run.method.label, run.config.training.epochs, run.config.seed, run.config.model.name)
        for run in runs
    ]
    assert found == [
        (task, label, epochs, 5, "roberta-large")
        for task in ("rte", "mrpc")
        for label in ("FT", "LoRA", "RoCoFT-1-Row")
        for epochs in (1, 2)
    ]


def test_a_method_on_an_axis_leaves_the_files_method_behind_or_builds_on_it(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path))
    assert sweep is not None
    full, _, lora, _, rocoft, _ = [resolve(settings).config for _, settings in sweep.runs()][:6]
    assert full.method == {"name": "full"}
    assert full.training.learning_rate == 3e-5
    assert lora.method["rank"] == 4
    assert (rocoft.method["rank"], rocoft.method["selection"], rocoft.training.learning_rate) == (1, "random", 2e-3)


def test_sources_name_file_and_axis(tmp_path: Path) -> None:
    file = sweep_file(tmp_path)
    sweep = read_sweep(file)
    assert sweep is not None
    _, settings = next(sweep.runs())
    assert settings.sources["training.epochs"] == f"{file}: axes.training.epochs"
    assert settings.sources["model.name"] == str(file)


def test_settings_of_one_run_are_no_sweep(tmp_path: Path) -> None:
    assert read_sweep(sweep_file(tmp_path, "task: {family: glue, name: rte}")) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("axes: []", "axes must hold `setting: [value, …]`"),
        ("axes: {seed: 3}", "axes.seed = 3: must be a list of values"),
        ("axes: {seed: []}", "axes.seed = []: must be a list of values"),
    ],
)
def test_a_wrong_sweep_is_explained(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        read_sweep(sweep_file(tmp_path, text))
    assert expected in str(caught.value)


def test_validate_shows_methods_and_the_number_of_runs(rocoft: Callable[..., Any], tmp_path: Path) -> None:
    result = rocoft("validate", sweep_file(tmp_path))
    assert result.code == 0
    assert "12 runs: 2 config x 3 method x 2 training.epochs x 1 seed" in result.out
    assert result.out.count("RoCoFT-1-Row") == 2  # one for each task's own settings


def test_validate_names_every_problem_once_and_where_it_is(rocoft: Callable[..., Any], tmp_path: Path) -> None:
    text = SWEEP.replace("full,", "ful, {name: lora, rnk: 2},")
    result = rocoft("validate", sweep_file(tmp_path, text))
    assert result.code == 2
    lines = result.err.splitlines()
    assert len(lines) == 2
    assert "config glue/rte.yaml, method ful, training.epochs 1, seed 5: unknown method 'ful'" in lines[0]
    assert 'did you mean "rank"?' in lines[1]
    assert "valid" not in result.out
