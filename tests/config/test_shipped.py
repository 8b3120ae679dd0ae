"""Every YAML file that ships is valid, and says what the paper's Table 10 says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import experiment, paper
from rocoft_bench.config import config_root, read_settings, read_sweep

ALL_FILES = sorted(config_root().rglob("*.yaml"))
SWEEPS = [file for file in ALL_FILES if read_sweep(file) is not None]
FILES = [file for file in ALL_FILES if file not in SWEEPS]
TABLE_10 = [file for file in FILES if file.parent.name != "demo"]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_is_valid(file: Path) -> None:
    resolved = experiment.resolve(read_settings(file))
    assert resolved.config.task.family == file.parent.name


@pytest.mark.parametrize("file", TABLE_10, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_holds_the_row_of_table_10(file: Path) -> None:
    resolved = experiment.resolve(read_settings(file))
    row = paper.hyperparameters()[str(resolved.task.paper_task)]
    config = resolved.config
    training, method = config.training, config.method
    assert training.learning_rate == float(row["learning_rate"])
    assert training.epochs == int(row["epochs"])
    assert training.batch_size == int(row["batch_size"])
    assert config.model.dropout == float(row["dropout"])
    assert training.weight_decay == float(row["weight_decay"])
    assert training.warmup_steps == int(row["warmup_steps"])
    assert training.lr_scheduler == row["lr_scheduler"]
    assert method["train_bias"] is (row["train_bias"] == "True")
    assert method["selection"] == row["pruning_strategy"]
    assert config.model.norm_eps == float(row["norm_eps"])
    assert method["rank"] == int(row["rank"])
    assert training.gradient_accumulation == max(1, int(row["gradient_accumulation"]))


def test_there_is_one_file_per_row() -> None:
    tasks = [experiment.resolve(read_settings(file)).task for file in TABLE_10]
    assert sorted(str(task.paper_task) for task in tasks) == sorted(paper.hyperparameters())
    assert [(task.family, task.name) for task in tasks] == [(file.parent.name, file.stem) for file in TABLE_10]


@pytest.mark.parametrize("file", SWEEPS, ids=lambda f: f.stem)
def test_every_run_of_a_sweep_is_valid(rocoft: Callable[..., Any], file: Path) -> None:
    result = rocoft("validate", file)
    assert (result.code, result.out.splitlines()[-1]) == (0, "valid")


def test_table_1_has_every_row_of_the_paper() -> None:
    sweep = read_sweep(config_root() / "table1_roberta_base.yaml")
    assert sweep is not None
    resolved = [experiment.resolve(settings) for _, settings in sweep.runs()]
    rows = {result.method for result in paper.results() if result.table == 1}
    assert {run.method.label for run in resolved} == rows
    columns = {result.task for result in paper.results() if result.table == 1} - {"average"}
    assert {run.task.paper_task for run in resolved} == columns
    rocoft_row = next(run.config for run in resolved if (run.task.name, run.method.label) == ("rte", "RoCoFT-3-Row"))
    assert (rocoft_row.training.learning_rate, rocoft_row.method["selection"]) == (2e-3, "random")  # Table 10's
