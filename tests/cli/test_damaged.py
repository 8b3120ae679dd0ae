"""Runs whose files, base model or rows are no longer what they were: nothing is computed with them without a word."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rocoft_bench.config import Settings
from rocoft_bench.engine.interrupt import Interrupted
from rocoft_bench.engine.observer import Observer
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.experiment.run import run

Cli = Callable[..., Any]
TEXTS = ("--text", "the cat sleeps", "--text-pair", "a dog runs")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, glue_dir: Path) -> Path:
    """A folder with a base model and rows and, after the first use, a run of LoRA by them."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(tiny_model, folder / "model")
    shutil.copytree(glue_dir / "glue" / "rte", folder / "data" / "glue" / "rte")
    return folder


@pytest.fixture
def place(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh copy of it is the working directory, always the same: a run's config.yaml holds full paths."""
    copy = whole.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    monkeypatch.chdir(copy)
    if not (whole / "run").exists():
        train(Path("run"))
        shutil.copytree("run", whole / "run")


def experiment() -> Any:
    values = {"family": "glue", "name": "rte", "data_dir": "data", "max_train_rows": 16}
    training = {"epochs": 1, "batch_size": 8, "warmup_steps": 0}
    return resolve(
        Settings({"task": values, "model": {"name": "model"}, "method": {"name": "lora"}, "training": training})
    )


def train(folder: Path, **how: Any) -> Any:
    return run(experiment(), folder, Observer(), **how)


def other_weights(folder: Path = Path("model")) -> None:
    file = folder / "model.safetensors"
    save_file({name: value + 0.5 for name, value in load_file(file).items()}, file, {"format": "pt"})


def all_refuse(rocoft: Cli, said: str) -> None:
    """predict, evaluate and export say it in one line and leave nothing."""
    for command in (("predict", "run", *TEXTS), ("evaluate", "run"), ("export", "run", "--output", "merged")):
        result = rocoft(*command)
        assert (result.code, result.out) == (2, "")
        last = result.err.splitlines()[-1]  # before it, evaluate says what it is about to do
        assert last.startswith("error: ")
        assert said in last
    assert not Path("merged").exists()
    assert not list(Path("run").glob("evaluations/*/record.json"))


@pytest.mark.usefixtures("place")
def test_another_base_model_in_its_place_is_noticed(rocoft: Cli) -> None:
    assert rocoft("predict", "run", *TEXTS).code == 0
    other_weights()
    all_refuse(rocoft, "is not the base model that run was trained on")


@pytest.mark.usefixtures("place")
def test_a_config_that_names_another_base_model_is_noticed(rocoft: Cli) -> None:
    shutil.copytree("model", "other")
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace(f"name: {Path('model').resolve()}", "name: other"))
    assert rocoft("predict", "run", *TEXTS).code == 0, "the same weights under another name"
    other_weights(Path("other"))
    all_refuse(rocoft, "other: is not the base model")


@pytest.mark.parametrize(
    ("setting", "changed", "named"),
    [
        ("alpha: 16.0", "alpha: 32.0", "method.alpha"),
        ("name: rte", "name: mrpc", "task.name"),
        ("max_length: 512", "max_length: 8", "task.max_length"),
    ],
)
@pytest.mark.usefixtures("place")
def test_a_config_with_other_settings_is_noticed(rocoft: Cli, setting: str, changed: str, named: str) -> None:
    config = Path("run/config.yaml")
    config.write_text(config.read_text().replace(setting, changed))
    all_refuse(rocoft, f"config.yaml: {named} is not what the run's record says")


@pytest.mark.usefixtures("place")
def test_a_config_of_something_else_is_named(rocoft: Cli) -> None:
    shutil.copy("run/adapter/adapter_config.json", "run/config.yaml")
    for command in (("predict", "run", *TEXTS), ("evaluate", "run")):
        result = rocoft(*command)
        assert result.code == 2
        assert "error: run/config.yaml: task is missing" in result.err


@pytest.mark.parametrize("how", ["truncated", "nan", "missing", "pipe", "renamed"])
@pytest.mark.usefixtures("place")
def test_a_damaged_adapter_is_noticed(rocoft: Cli, how: str) -> None:
    file = Path("run/adapter/adapter_model.safetensors")
    tensors = load_file(file)
    file.unlink()
    if how == "truncated":
        file.write_bytes(b"\x10")
    elif how == "nan":
        save_file({**tensors, min(tensors): torch.full_like(tensors[min(tensors)], torch.nan)}, file)
    elif how == "renamed":
        save_file({f"x{name}": value for name, value in tensors.items()}, file)
    elif how == "pipe":
        os.mkfifo(file)
    all_refuse(rocoft, str(file))
    record = json.loads(Path("run/record.json").read_text())
    Path("run/record.json").write_text(json.dumps({**record, "adapter_files": None}))  # as of earlier versions
    all_refuse(rocoft, str(file))


@pytest.mark.usefixtures("place")
def test_a_run_with_a_damaged_adapter_is_made_again(rocoft: Cli) -> None:
    file = Path("run/adapter/adapter_model.safetensors")
    whole = file.read_bytes()
    assert train(Path("run"))[1] is False
    file.write_bytes(b"")
    assert train(Path("run"))[1] is True
    assert file.read_bytes() == whole


@pytest.mark.usefixtures("place")
def test_changed_rows_of_an_evaluation_are_noticed(rocoft: Cli) -> None:
    assert rocoft("evaluate", "run").code == 0
    again = rocoft("evaluate", "run")
    assert (again.code, "note" in again.err) == (0, False)
    rows = Path("data/glue/rte/validation.jsonl")
    rows.write_text(rows.read_text().replace("cat", "dog"))
    result = rocoft("evaluate", "run")
    assert result.code == 2
    assert "evaluated already, and its examples have changed since; --force" in result.err
    result = rocoft("evaluate", "run", "--force")
    assert result.code == 0
    assert "the evaluation examples have changed since the run was trained" in " ".join(result.err.split())
    (record,) = Path("run/evaluations").glob("*/record.json")
    assert "examples have changed" in json.loads(record.read_text())["notes"][-1]
    other_weights()
    result = rocoft("evaluate", "run")
    assert result.code == 2
    assert "is not the base model" in result.err


@pytest.mark.usefixtures("place")
def test_a_run_that_is_made_again_keeps_no_evaluation_of_the_earlier_one(rocoft: Cli) -> None:
    assert rocoft("evaluate", "run").code == 0
    train(Path("run"), force=True)
    assert not Path("run/evaluations").exists()


@pytest.mark.usefixtures("place")
def test_an_interrupted_run_does_not_go_on_from_another_base_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from rocoft_bench.engine import trainer
    from rocoft_bench.errors import UserError

    with monkeypatch.context() as patch:

        def stop(self: Any, epoch: int, stop: Any) -> None:
            raise Interrupted

        patch.setattr(trainer.Trainer, "_end_epoch", stop)
        with pytest.raises(Interrupted):
            train(Path("new"))
    other_weights()
    with pytest.raises(UserError, match=r"the base model is another one .* since this run began; --force"):
        train(Path("new"))
    assert train(Path("new"), force=True)[0].status == "ok"


@pytest.mark.usefixtures("place")
def test_an_export_is_there_whole_or_not_at_all(rocoft: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import PreTrainedTokenizerFast

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(PreTrainedTokenizerFast, "save_pretrained", full_disk)
        result = rocoft("export", "run", "--output", "deep/merged")
    assert result.code == 2
    assert "merged: cannot be written (No space left on device)" in result.err
    assert list(Path("deep").iterdir()) == []
    Path("deep/link").symlink_to("merged")
    assert rocoft("export", "run", "--output", "deep/link").code == 2
    assert rocoft("export", "run", "--output", "deep/merged").code == 0
    assert {file.name for file in Path("deep").iterdir()} == {"merged", "link"}
    assert {file.stat().st_mode & 0o777 for file in Path("deep/merged").iterdir()} == {0o666 & ~umask()}


def umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@pytest.mark.usefixtures("place")
def test_a_second_evaluation_at_the_same_time_is_turned_away(rocoft: Cli) -> None:
    from rocoft_bench.experiment.evaluate import evaluation_directory
    from rocoft_bench.experiment.trained_model import experiment_of
    from rocoft_bench.runs import RunDirectory

    directory = RunDirectory(Path("run"))
    with evaluation_directory(directory, experiment_of(directory)).locked():
        result = rocoft("evaluate", "run")
    assert result.code == 2
    assert "another process is working" in result.err


@pytest.mark.usefixtures("place")
def test_evaluations_are_not_written_through_a_link(rocoft: Cli) -> None:
    Path("elsewhere").mkdir()
    Path("run/evaluations").symlink_to(Path("elsewhere").absolute())
    result = rocoft("evaluate", "run")
    assert result.code == 2
    assert "evaluations: is a link" in result.err
    assert not any(Path("elsewhere").iterdir())
