"""A run's base model is found from anywhere, and can be somewhere else later; another one is not taken for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

Cli = Callable[..., Any]
ROBERTA = "FacebookAI/roberta-base"
SMALL = ("--epochs", 1, "--set", "task.max_train_rows=4", "--set", "task.max_eval_rows=2")
ASKED = ("--text", "a cat", "--text-pair", "a dog")


@pytest.fixture
def place(tiny_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model that is called like one of the hub."""
    folder = tmp_path / "here"
    shutil.copytree(tiny_of(ROBERTA), folder / "models" / "m")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return folder


def train(rocoft: Cli, data: Path, model: str, output: Path) -> dict[str, Any]:
    result = rocoft("train", "glue", "--task", "rte", "--model", model, "--data-dir", data, *SMALL, "--output", output)
    assert result.code == 0, result.err
    record: dict[str, Any] = json.loads((output / "record.json").read_text())
    return record


def test_a_folder_is_one_model_however_it_is_spelled(
    rocoft: Cli, place: Path, glue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    record = train(rocoft, glue_dir, "models/m", run)
    assert record["model"]["name"] == str(place / "models" / "m")
    for spelling in ("./models/m", "models/../models/m/", str(place / "models" / "m")):
        assert train(rocoft, glue_dir, spelling, run)["finished_at"] == record["finished_at"]
    monkeypatch.chdir(tmp_path)
    assert rocoft("predict", run, *ASKED).code == 0


def test_a_base_that_moved_is_named_again(
    rocoft: Cli, place: Path, glue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(rocoft, glue_dir, "models/m", run)
    answer = rocoft("predict", run, *ASKED).out
    (place / "models" / "m").rename(place / "moved")
    monkeypatch.chdir(tmp_path)
    lost = rocoft("predict", run, *ASKED)
    assert lost.code == 2
    assert "no such folder" in lost.err
    assert "--model" in lost.err
    found = rocoft("predict", run, *ASKED, "--model", "here/moved")
    assert (found.code, found.out) == (0, answer)
    assert rocoft("evaluate", run, "--set", "task.max_eval_rows=3", "--model", "here/moved").code == 0
    assert rocoft("export", run, "--model", "here/moved").code == 0
    other = shutil.copytree(run / "merged", tmp_path / "other")
    refused = rocoft("predict", run, *ASKED, "--model", other)
    assert refused.code == 2
    assert "is not the base model that" in refused.err


def test_a_lost_folder_is_not_looked_up_on_the_hub(
    rocoft: Cli, place: Path, glue_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in runs of earlier versions, which kept the name as it was given."""
    run = tmp_path / "run"
    train(rocoft, glue_dir, "models/m", run)
    for file, read, write in (("config.yaml", yaml.safe_load, yaml.safe_dump), ("record.json", json.loads, json.dumps)):
        content = read((run / file).read_text())
        content["model"]["name"] = "models/m"
        (run / file).write_text(write(content))
    assert rocoft("predict", run, *ASKED).code == 0
    monkeypatch.chdir(tmp_path)
    lost = rocoft("predict", run, *ASKED)
    assert lost.code == 2
    assert "is the folder models/m, which is not here" in lost.err
    assert rocoft("predict", run, *ASKED, "--model", place / "models" / "m").code == 0


def test_what_could_be_a_folder_is_said_to_be_none(
    rocoft: Cli, glue_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = rocoft("train", "glue", "--task", "rte", "--model", "models/m", "--data-dir", glue_dir)
    assert result.code == 2
    assert "cannot get model models/m (here is no such folder)" in result.err
