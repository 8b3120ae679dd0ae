"""Every YAML file that ships is valid, and says what the paper's Table 10 says."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import models, paper
from rocoft_bench.config import Settings, config_files, config_root, find_config, read_settings, read_sweep
from rocoft_bench.errors import UserError
from rocoft_bench.experiment import resolve as experiment
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.plugins import load_files
from rocoft_bench.runs import config_values
from tests.config.plugins import PLUGINS

SWEEPS = [file for file in config_files() if read_sweep(file) is not None]
FILES = [file for file in config_files() if file not in SWEEPS]
TABLE_10 = [file for file in FILES if file.parent.name not in ("demo", "fewshot")]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_is_valid(file: Path) -> None:
    resolved = experiment.resolve(read_settings(file))
    assert resolved.config.task.family == file.parent.name


def test_complete_settings_are_the_same_run(forgets_plugins: None) -> None:
    """What a run's config.yaml holds, or another process is told, has the hash of what it was made from."""
    load_files(PLUGINS.values())
    sweeps = [sweep for file in SWEEPS if (sweep := read_sweep(file)) is not None]
    runs = [read_settings(file) for file in FILES] + [settings for sweep in sweeps for _, settings in sweep.runs()]
    for settings in runs:
        first = experiment.resolve(settings)
        again = experiment.resolve(Settings(json.loads(json.dumps(config_values(first.config)))))
        assert again.identity.config_hash == first.identity.config_hash


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
def test_every_run_of_a_sweep_is_valid(rocoft: Callable[..., Any], forgets_plugins: None, file: Path) -> None:
    result = rocoft("validate", file, *(["--plugin", PLUGINS[file.stem]] if file.stem in PLUGINS else []))
    assert (result.code, result.out.splitlines()[-1]) == (0, "valid")


def experiments(name: str) -> list[Experiment]:
    """All that a sweep runs or evaluates."""
    sweep = read_sweep(config_root() / f"{name}.yaml")
    assert sweep is not None
    runs = [settings for _, settings in sweep.runs()]
    evaluated = [changed for settings in runs for changed in sweep.evaluation_settings(settings)]
    return [experiment.resolve(settings) for settings in (*runs, *evaluated)]


@pytest.mark.parametrize(
    ("name", "table", "of_models"),
    [
        ("table1_roberta_base", 1, {"roberta-base"}),
        ("table2_llms", 2, {"bloomz-7b", "gpt-j-6b", "llama-2-7b", "llama-2-13b"}),
        ("llama2", 2, {"llama-2-7b", "llama-2-13b"}),
        ("table6_roberta_large", 6, {"roberta-large"}),
        ("table7_qa_summarization", 7, {"deberta-v3-base", "bart-large"}),
        ("table11_random", 11, {"roberta-base", "roberta-large"}),
        ("table12_random_llms", 12, {"bloomz-7b", "gpt-j-6b", "llama-2-7b", "llama-2-13b"}),
    ],
)
def test_a_sweep_has_every_cell_of_its_table(name: str, table: int, of_models: set[str]) -> None:
    found = set()
    for run in experiments(name):
        model = models.known_model(run.config.model.name)
        label = run.method.label.replace("-3-", "-") if table == 7 else run.method.label  # there, rank 3 goes unsaid
        found.add((model and model.paper_name, label, run.task.paper_task))
    printed = [result for result in paper.results() if result.table == table and result.task != "average"]
    assert found == {(cell.model, cell.method, cell.task) for cell in printed if cell.model in of_models}
    assert {model for model, _, _ in found} == of_models


def test_rocoft_in_a_sweep_has_the_settings_of_table_10() -> None:
    run = next(
        run.config
        for run in experiments("table1_roberta_base")
        if (run.task.name, run.method.label) == ("rte", "RoCoFT-3-Row")
    )
    assert (run.training.learning_rate, run.method["selection"]) == (2e-3, "random")


def test_table_8_has_the_papers_ranks_within_the_attention() -> None:
    found = set()
    for run in experiments("table8_rank"):
        values = run.config.method
        label = f"RoCoFT-{values['mode'].capitalize()}" if values["name"] == "rocoft" else run.method.label
        found.add((values["rank"], label))
        assert values["target_modules"] == ["query", "key", "value"]
        assert values.get("alpha", 2 * values["rank"]) == 2 * values["rank"]
    assert found == {(row.rank, row.method) for row in paper.rank_efficiency()}


def test_figure_4_has_four_selections_of_rows_and_columns_on_five_tasks() -> None:
    runs = experiments("figure4_selection")
    assert {run.config.method["rank"] for run in runs} == {4}
    assert {(run.task.name, run.config.method["mode"], run.config.method["selection"]) for run in runs} == {
        (task, mode, selection)
        for task in ("sst2", "rte", "qnli", "cola", "mnli")
        for mode in ("row", "column")
        for selection in ("max", "min", "mixed", "random")
    }


def test_the_demo_has_twelve_runs_that_need_no_network() -> None:
    runs = experiments("demo")
    assert len({run.run_name for run in runs}) == 12
    assert {(run.task.family, run.config.model.name) for run in runs} == {("demo", "demo-minilm")}


def test_the_files_of_accelerate_are_not_suggested() -> None:
    assert not [file for file in config_files() if "accelerate" in file.parts[-2]]
    with pytest.raises(UserError) as caught:
        find_config("nothing.yaml")
    assert "accelerate" not in str(caught.value)


def test_each_sweep_has_a_script_that_runs_it(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program = tmp_path / "rocoft"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    program.chmod(0o755)
    scripts = config_root().parent / "scripts"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for script in (file for file in scripts.glob("*.sh") if 'sweep_and_report.sh" configs/' in file.read_text()):
        subprocess.run([script, "--filter", "seed=0"], env=environment, check=True)
    plugins = {name: f" --plugin scripts/{file.name}" for name, file in PLUGINS.items()}
    sweeps = [f"sweep configs/{file.name}{plugins.get(file.stem, '')} --filter seed=0" for file in SWEEPS]
    assert sorted(calls.read_text().splitlines()) == sorted([*sweeps, *["report results"] * len(sweeps)])
