"""`rocoft sweep` as a user sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SWEEP = """
task: {{family: glue, name: rte, data_dir: {data}, max_length: 32}}
model: {{name: {model}}}
training: {{epochs: 1, batch_size: 8, checkpoint_seconds: 1000}}
axes:
  method: [head-only, {{name: rocoft, rank: 1}}]
  seed: [0, 1]
overrides:
  - {{where: {{method: head-only, seed: 1}}, set: {{training.learning_rate: 1.0e+38, training.warmup_steps: 0}}}}
  - {{where: {{method: rocoft, seed: 1}}, set: {{method.target_modules: [nothing_like_this]}}}}
"""


@pytest.fixture
def sweep_file(tmp_path: Path, tiny_model: Path, glue_dir: Path) -> Path:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.format(data=glue_dir, model=tiny_model))
    return file


def test_a_dry_run_shows_the_plan_and_writes_nothing(
    rocoft: Callable[..., Any], sweep_file: Path, tmp_path: Path
) -> None:
    result = rocoft("sweep", sweep_file, "--dry-run", "--output", tmp_path / "out")
    assert result.code == 0
    assert "glue rte  " in result.out
    assert result.out.count("to do     glue-rte/") == 4
    assert "4 runs, 4 to do" in result.out
    assert not (tmp_path / "out").exists()
    filtered = rocoft("sweep", sweep_file, "--dry-run", "--output", tmp_path / "out", "--filter", "method=rocoft")
    assert "2 runs, 2 to do" in filtered.out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("glue/rte.yaml",), "has no axes, so it is one run: rocoft train FAMILY --config glue/rte.yaml"),
        (("table1_roberta_bas.yaml",), 'did you mean "table1_roberta_base.yaml"?'),
        (("demo.yaml", "--filter", "method=lorra"), 'no run has method = lorra; did you mean "lora"?'),
        (("demo.yaml", "--timeout-minutes", "inf"), "--timeout-minutes inf: must be a number above 0"),
        (("demo.yaml", "--config-file", "nosuch"), "--config-file"),
        (("demo.yaml", "--address", "head:6379"), "--address: is for --executor ray"),
        (("demo.yaml", "--executor", "ray", "--partition", "gpu"), "--partition: is for --executor slurm"),
        (("demo.yaml", "--executor", "slurm", "--sbatch", "nlp"), "--sbatch nlp: must be KEY=VALUE"),
        (("demo.yaml", "--set", "training.epoch=1"), 'training.epoch is not a setting; did you mean "epochs"?'),
    ],
)
def test_bad_input(rocoft: Callable[..., Any], tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    result = rocoft("sweep", *arguments, "--output", tmp_path / "out")
    assert result.code == 2
    assert expected in result.err
    assert result.out == ""
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_told_before_any_run(rocoft: Callable[..., Any], sweep_file: Path) -> None:
    result = rocoft("sweep", sweep_file, "--output", "/proc/x")
    assert result.code == 2
    assert result.err.startswith("error: --output /proc/x: cannot be written")
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "command", [("sweep", "demo.yaml"), ("train", "glue", "--task", "rte"), ("demo",), ("report",)]
)
def test_an_empty_folder_is_not_the_working_directory(rocoft: Callable[..., Any], command: tuple[str, ...]) -> None:
    result = rocoft(*command, "--output", "")
    assert result.code == 2
    assert "--output" in result.err
    assert "is empty" in result.err


def test_a_method_is_set_by_its_name_alone(rocoft: Callable[..., Any], sweep_file: Path, tmp_path: Path) -> None:
    short, long = (
        rocoft("sweep", sweep_file, "--dry-run", "--output", tmp_path / "out", "--set", f"{key}=lora").out
        for key in ("method", "method.name")
    )
    assert short == long
    assert "_LoRA_" in short


def test_what_is_wrong_with_many_runs_is_said_once(
    rocoft: Callable[..., Any], sweep_file: Path, tmp_path: Path
) -> None:
    arguments = ("sweep", sweep_file, "--dry-run", "--output", tmp_path / "out")
    all_wrong = rocoft(*arguments, "--set", "training.epoch=1")
    assert all_wrong.code == 2
    assert len(all_wrong.err.splitlines()) == 1
    assert all_wrong.err.startswith(
        "error: method head-only, seed 0 and 3 more: --set training.epoch=1: training.epoch"
    )
    sweep_file.write_text(sweep_file.read_text().replace("rank: 1", "rnk: 1"))
    some_wrong = rocoft(*arguments)
    assert some_wrong.code == 1
    assert some_wrong.out.count("wrong, will not run: method rocoft 1, seed 0 and 1 more: ") == 1
    assert some_wrong.out.count("wrong, will not run: ") == 1


def test_what_fails_is_on_record_and_a_second_start_runs_nothing_again(
    rocoft: Callable[..., Any], sweep_file: Path, tmp_path: Path
) -> None:
    sweep_file.write_text(sweep_file.read_text() + "exclude:\n  - {method: head-only, seed: 0}\n")
    out = tmp_path / "out"
    first = rocoft("sweep", sweep_file, "--output", out, "--jobs", 2)
    assert first.code == 1
    assert first.out.splitlines()[-1] == "1 ok, 1 failed, 1 nan"
    records = {file: json.loads(file.read_text()) for file in out.rglob("record.json")}
    by_run = {(record["label"], record["seed"]): record for record in records.values()}
    assert {key: record["status"] for key, record in by_run.items()} == {
        ("Head only", 1): "nan", ("RoCoFT-1-Row", 0): "ok", ("RoCoFT-1-Row", 1): "failed",
    }  # fmt: skip
    assert "nothing_like_this" in by_run["RoCoFT-1-Row", 1]["error"]
    assert "learning_rate" in by_run["Head only", 1]["hint"]
    done = next(file for file, record in records.items() if record["status"] == "ok")
    provenance = json.loads(done.with_name("provenance.json").read_text())
    assert provenance["command"][:2] == ["rocoft", "sweep"]

    stamps = {file: file.stat().st_mtime_ns for file in records}
    second = rocoft("sweep", sweep_file, "--output", out)
    assert second.code == 1
    assert "failed before, left alone (--retry-failed runs them again): 2" in second.out
    assert {file: file.stat().st_mtime_ns for file in out.rglob("record.json")} == stamps
    report = rocoft("report", out)
    assert report.code == 0
    assert "[nan]" in report.out
    assert "[failed]" in report.out


def test_a_folder_that_cannot_be_written_is_one_line(
    rocoft: Callable[..., Any], sweep_file: Path, tmp_path: Path
) -> None:
    sweep_file.write_text(sweep_file.read_text().replace("rank: 1", "rnk: 1"))  # some runs are wrong
    (tmp_path / "file").touch()
    result = rocoft("sweep", sweep_file, "--output", tmp_path / "file")
    assert result.code == 2
    assert "cannot be written" in result.err
    assert len(result.err.splitlines()) == 1


def test_a_dry_run_of_a_search_shows_its_trials_and_what_is_open(
    rocoft: Callable[..., Any], sweep_file: Path, tmp_path: Path
) -> None:
    sweep_file.write_text(
        sweep_file.read_text().partition("overrides")[0]
        + "tune: {grid: {training.learning_rate: [1.0e-3, 1.0e-2, 1.0e-1]}, hold_out: 10}\n"
    )
    result = rocoft("sweep", sweep_file, "--dry-run", "--output", tmp_path / "out")
    assert result.code == 0
    assert "tuning: 2 searches of 3 combinations x 1 seeds, on 10 held-out training rows" in result.out
    assert result.out.count("to do     glue-rte/") == 6
    assert "method head-only: 3 of 3 trials are still to do" in result.out
    assert not (tmp_path / "out").exists()
    assert "4 runs: 2 method x 2 seed; 6 trials of tuning before them" in rocoft("validate", sweep_file).out
    refused = rocoft("sweep", sweep_file, "--dry-run", "--set", "training.learning_rate=1")
    assert (refused.code, "it is tuned or set, not both" in refused.err) == (2, True)
