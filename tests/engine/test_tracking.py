"""What an experiment tracker is told of a run, read back from what it stored; none of them needs a network here."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rocoft_bench.config import Settings
from rocoft_bench.engine import tracking
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.tracking import TrackerName, tracked
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import RunDirectory

Cli = Callable[..., Any]
TRAIN = ("train", "glue", "--task", "rte", "--epochs", 1, "--batch-size", 8, "--set", "training.warmup_steps=2")


def train_some(folder: Path, name: TrackerName, first: int, last: int) -> None:
    """Log the steps from `first` to `last`, and at the end an evaluation."""
    config = resolve(Settings({"task": {"family": "glue", "name": "rte"}, "method": {"name": "rocoft"}})).config
    folder.mkdir(exist_ok=True)
    with tracked(Observer(), name, config, RunDirectory(folder)) as observer:
        observer.training_started(10, first - 1)
        for step in range(first, last + 1):
            observer.logged({"step": step, "loss": 1 / step, "learning_rate": 0.1})
        observer.logged({"step": last, "epoch": 1, "metrics": {"accuracy": 0.5}})


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All curves in tensorboard's files, which keep single precision."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stored = EventAccumulator(str(folder)).Reload()
    return {name: [(point.step, point.value) for point in stored.Scalars(name)] for name in stored.Tags()["scalars"]}


def test_tensorboard_gets_the_whole_history(rocoft: Cli, tiny_model: Path, glue_dir: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    data = ("--model", tiny_model, "--data-dir", glue_dir, "--output", run)
    assert rocoft(*TRAIN, *data, "--track", "tensorboard").code == 0
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    losses = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    rates = [(entry["step"], entry["learning_rate"]) for entry in history if "loss" in entry]
    accuracies = [(entry["step"], entry["metrics"]["accuracy"]) for entry in history if "metrics" in entry]
    assert curves(run / "tracking") == {
        "train/loss": [(step, pytest.approx(value)) for step, value in losses],
        "train/learning_rate": [(step, pytest.approx(value)) for step, value in rates],
        "eval/accuracy": [(step, pytest.approx(value)) for step, value in accuracies],
    }
    (settings,) = (yaml.safe_load(file.read_text()) for file in run.glob("tracking/*/hparams.yml"))
    assert settings["task.name"] == "rte"
    assert settings["training.batch_size"] == 8
    again = rocoft(*TRAIN, *data)
    assert again.code == 0
    assert "already finished" in again.out, "a tracker is no part of what a run is"
    assert rocoft(*TRAIN, *data, "--force").code == 0
    assert not (run / "tracking").exists(), "curves of a run that is replaced go with it"


def test_a_resumed_run_goes_on_with_its_curves(tmp_path: Path) -> None:
    train_some(tmp_path / "run", TrackerName.tensorboard, 1, 6)  # killed then; the last checkpoint was after step 4
    train_some(tmp_path / "run", TrackerName.tensorboard, 5, 10)
    losses = curves(tmp_path / "run" / "tracking")["train/loss"]
    assert losses == [(step, pytest.approx(1 / step)) for step in range(1, 11)]


@pytest.mark.parametrize("part", ["start", "log", "finish"])
def test_a_tracker_that_fails_leaves_the_run_alone(
    part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from accelerate.tracking import TensorBoardTracker

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no\nroute to host")

    monkeypatch.setattr(TensorBoardTracker, part, fail)
    train_some(tmp_path / "run", TrackerName.tensorboard, 1, 6)
    warning = "warning: --track tensorboard: no route to host; the run continues without it\n"
    assert capsys.readouterr().err == warning, "one warning, then silence"


def test_a_missing_package_is_said_before_anything_is_done(
    rocoft: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    result = rocoft(*TRAIN, "--model", "no/such-model", "--output", tmp_path / "run", "--track", "wandb")
    assert result.code == 2
    assert result.err == "error: --track wandb: needs the extra wandb: pip install 'rocoft-bench[wandb]'\n"
    assert not (tmp_path / "run").exists()


def test_wandb_keeps_one_run_and_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    key = "0123456789abcdef0123456789abcdef01234567"
    for name, value in {"WANDB_MODE": "offline", "WANDB_API_KEY": key, "HF_TOKEN": "hf_" + key}.items():
        monkeypatch.setenv(name, value)
    run = tmp_path / "run"
    train_some(run, TrackerName.wandb, 1, 6)
    train_some(run, TrackerName.wandb, 5, 10)
    first, second = sorted(run.glob("tracking/wandb/offline-run-*/*.wandb"))
    assert first.name == second.name, "both times the same run"
    for name in (b"train/loss", b"eval/accuracy"):
        assert name in first.read_bytes()
    assert b"training.batch_size" in first.read_bytes()
    assert not [file for file in run.rglob("*") if file.is_file() and key.encode() in file.read_bytes()]


def test_trackio_keeps_one_run(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    code = (
        "import sys; from pathlib import Path; from tests.engine.test_tracking import *\n"
        "train_some(Path(sys.argv[1]), TrackerName.trackio, 1, 6)\n"
        "train_some(Path(sys.argv[1]), TrackerName.trackio, 5, 10)"
    )
    command = [sys.executable, "-c", code, tmp_path / "run"]
    environment = {"PATH": "", "HOME": str(tmp_path), "TRACKIO_DIR": str(tmp_path / "stored")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, "warning:" in done.stderr) == (0, False), done.stderr
    with sqlite3.connect(tmp_path / "stored" / "rocoft.db") as database:
        rows = database.execute("SELECT run_id, run_name, step, metrics FROM metrics").fetchall()
    assert {(name, run) for run, name, _, _ in rows} == {("run", rows[0][0])}
    assert (10, {"train/loss": 0.1, "train/learning_rate": 0.1}) in [(row[2], json.loads(row[3])) for row in rows]
