"""Bad input: one clear line, exit code 2, nothing left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
RTE = ("train", "glue", "--task", "rte")


@pytest.fixture
def data(glue_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(glue_dir, tmp_path / "data"))


@pytest.fixture
def fails(rocoft: Cli, tmp_path: Path) -> Callable[..., str]:
    """Runs a command that must be refused; returns the one line it prints."""

    def call(*arguments: object) -> str:
        output = tmp_path / "out" / "run"
        result = rocoft(*arguments, *(["--output", output] if arguments[0] == "train" else []))
        assert result.code == 2
        assert not output.exists()
        assert not output.parent.exists()
        lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert "Traceback" not in result.err
        return lines[0]

    return call


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("train", "glu", "--task", "rte"), 'unknown task family "glu": did you mean "glue"?'),
        (("train", "glue", "--task", "rtee"), 'unknown glue task "rtee": did you mean "rte"?'),
        (("train", "glue"), "--task is missing: cola, sst2"),
        ((*RTE, "--method", "lorra"), "unknown method 'lorra'; did you mean \"lora\"?"),
        ((*RTE, "--rank", "-1"), "method.rank = -1: input should be greater than 0"),
        ((*RTE, "--mode", "rows"), "method.mode = 'rows': did you mean \"row\"? Allowed: column, r"),
        ((*RTE, "--method", "lora", "--mode", "row"), "method.mode is not a setting"),
        ((*RTE, "--set", "training.epoch=3"), 'training.epoch is not a setting; did you mean "epochs"?'),
        ((*RTE, "--model", "robertabase"), 'not a hub id (owner/name); did you mean "roberta-base"?'),
        ((*RTE, "--config", "absent.yaml"), "no config file absent.yaml"),
        (("report", "absent"), "absent: no such folder"),
        (("predict", "absent", "--text", "x"), "absent: no such run folder"),
        (("export", "absent"), "absent: no such run folder"),
        (("validate", "glue/rtx.yaml"), 'did you mean "glue/rte.yaml"?'),
    ],
)
def test_wrong_names_and_values(
    fails: Callable[..., str], data: Path, arguments: tuple[str, ...], expected: str
) -> None:
    extra = ["--data-dir", data] if arguments[0] == "train" else []
    assert expected in fails(*arguments, *extra)


def test_a_folder_has_a_name_that_is_text(rocoft: Cli) -> None:
    for command in (("export", "run", "--output"), ("train", "glue", "--task", "rte", "--output")):
        result = rocoft(*command, "caf\udce9")
        assert result.code == 2
        assert "caf\\udce9: is not UTF-8" in result.err


def break_rows(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def apply(file: Path) -> None:
        file.write_text("".join(change(file.read_text().splitlines(keepends=True))))

    return apply


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: [], "train.jsonl"),
        (lambda lines: [*lines[:4], lines[4][:20]], "line 5"),
        (lambda lines: [line.replace('"sentence2"', '"second"') for line in lines], "sentence2"),
        (lambda lines: [*lines[:2], lines[2].replace('"label": ', '"label": 7')], "line 3"),
    ],
    ids=["empty", "truncated", "missing column", "label outside"],
)
def test_wrong_data(
    fails: Callable[..., str], data: Path, tiny_model: Path, change: Callable[[list[str]], list[str]], expected: str
) -> None:
    break_rows(change)(data / "glue" / "rte" / "train.jsonl")
    message = fails(*RTE, "--model", tiny_model, "--data-dir", data)
    assert "train.jsonl" in message
    assert expected in message


def test_a_folder_without_a_model(fails: Callable[..., str], data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no config.json" in fails(*RTE, "--model", tmp_path / "empty", "--data-dir", data)


def test_a_damaged_model(fails: Callable[..., str], data: Path, tiny_model: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be loaded" in fails(*RTE, "--model", broken, "--data-dir", data)


def test_a_model_without_a_vocabulary(fails: Callable[..., str], data: Path, tiny_model: Path, tmp_path: Path) -> None:
    """transformers makes a tokenizer of no files, to which every text is unknown."""
    silent = Path(shutil.copytree(tiny_model, tmp_path / "silent"))
    for file in silent.glob("*token*"):
        file.unlink()
    assert "knows special tokens alone" in fails(*RTE, "--model", silent, "--data-dir", data)
    (silent / "vocab.txt").touch()
    assert "--model" in fails(*RTE, "--model", silent, "--data-dir", data)


def test_a_method_by_a_name_that_is_none(fails: Callable[..., str], data: Path, tiny_model: Path) -> None:
    common = (*RTE, "--model", tiny_model, "--data-dir", data, "--set")
    assert "method.name is missing" in fails(*common, "method.name=null")
    assert "unknown method ['lora']" in fails(*common, "method.name=[lora]")


def test_targets_that_the_model_does_not_have(fails: Callable[..., str], data: Path, tiny_model: Path) -> None:
    message = fails(*RTE, "--model", tiny_model, "--data-dir", data, "--set", "method.target_modules=[q_proj]")
    assert "q_proj" in message


@pytest.mark.parametrize(
    ("method", "targets", "expected"),
    [
        ("rocoft", "(", "not a regular expression"),
        ("lora", "[query, nosuch]", "the model has no module 'nosuch'"),
        ("moslora", "(([a-z._0-9]+)+)+[!?]", "the model has no module"),
    ],
)
def test_targets_that_are_no_expression_or_name_nothing(
    fails: Callable[..., str], data: Path, tiny_model: Path, method: str, targets: str, expected: str
) -> None:
    options = ("--method", method, "--set", f"method.target_modules={targets if ',' in targets else repr(targets)}")
    assert expected in fails(*RTE, "--model", tiny_model, "--data-dir", data, *options)


def test_an_output_below_a_file(rocoft: Cli, data: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = rocoft(*RTE, "--model", tiny_model, "--data-dir", data, "--output", tmp_path / "file" / "run")
    assert result.code == 2
    assert "cannot be written" in result.err


@pytest.mark.parametrize(("precision", "needed"), [("fp16", "a GPU"), ("tf32", "an NVIDIA GPU since Ampere")])
def test_a_precision_without_its_gpu(
    fails: Callable[..., str], data: Path, tiny_model: Path, precision: str, needed: str
) -> None:
    message = fails(*RTE, "--model", tiny_model, "--data-dir", data, "--set", f"training.precision={precision}")
    assert f"{precision} needs {needed}; use fp32 or bf16" in message


def test_predict_asks_for_both_texts_in_utf8(rocoft: Cli, data: Path, tiny_model: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    rocoft(*RTE, "--model", tiny_model, "--data-dir", data, "--epochs", 1, "--output", run)
    result = rocoft("predict", run, "--text", "the cat")
    assert result.code == 2
    assert "glue rte takes --text (sentence1) and --text-pair (sentence2)" in result.err
    assert rocoft("predict", run, "--text", "caf\udce9", "--text-pair", "b").err == "error: --text: is not UTF-8 text\n"
