"""A run evaluated once more: other tasks of its family, the other protocol, nothing of its training changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture(scope="session")
def math_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve examples to train on and five to answer for two tasks, in LLM-Adapters' form."""
    folder = tmp_path_factory.mktemp("math")
    for name, split, count in (("math_10k", "train", 12), ("gsm8k", "test", 5), ("AddSub", "test", 5)):
        rows = [
            {
                "instruction": f"Anna has {i} pens and buys {len(name)}. How many has she?",
                "input": "",
                "output": f"{i} + {len(name)} = {i + len(name)}. The answer is {i + len(name)}",
                "answer": f"{i + len(name)}.0",
            }
            for i in range(count)
        ]
        file = folder / "math" / name / f"{split}.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(rows))
    return folder


@pytest.fixture
def run(rocoft: Cli, tiny_of: Callable[[str], Path], math_dir: Path, tmp_path: Path) -> Path:
    options = ["--model", tiny_of("meta-llama/Llama-2-7b-hf"), "--data-dir", math_dir, "--epochs", 1, "--batch-size", 6]
    result = rocoft("train", "math", "--task", "gsm8k", *options, "--set", "task.max_new_tokens=5",
                    "--output", tmp_path / "run")  # fmt: skip
    assert result.code == 0, result.err
    return tmp_path / "run"


def records(run: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(file.read_text()) for file in (run / "evaluations").glob("*/record.json")]
    return {record["task"]["name"]: record for record in found}


def test_rows_are_found_again_from_another_folder(
    rocoft: Cli, tiny_of: Callable[[str], Path], math_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(data_dir: object) -> Any:
        options = ["--model", tiny_of("meta-llama/Llama-2-7b-hf"), "--data-dir", data_dir, "--epochs", 1]
        short = ["--set", "task.max_new_tokens=5", "--output", tmp_path / "run"]
        return rocoft("train", "math", "--task", "gsm8k", *options, *short)

    monkeypatch.chdir(math_dir.parent)
    assert train(math_dir.name).code == 0
    monkeypatch.chdir(tmp_path)
    assert "already finished" in train(math_dir).out
    result = rocoft("evaluate", "run", "--task", "addsub")
    assert result.code == 0, result.err


def test_another_task_is_a_record_of_its_own(rocoft: Cli, run: Path) -> None:
    result = rocoft("evaluate", run, "--task", "addsub")
    assert result.code == 0, result.err
    first, other = json.loads((run / "record.json").read_text()), records(run)["addsub"]
    assert other["task"]["paper_task"] == "addsub"
    assert other["data"]["evaluation"]["path"].endswith("AddSub/test.json")
    assert other["data"]["train"] == first["data"]["train"]
    for same in ("parameters", "train_seconds", "steps", "seed", "method", "label"):
        assert other[same] == first[same]
    assert set(other["metrics"]) == {"accuracy", "unparsed"}


def test_the_same_evaluation_gives_the_same_answers(rocoft: Cli, run: Path) -> None:
    assert rocoft("evaluate", run, "--set", "training.eval_batch_size=1").code == 0
    (again,) = (run / "evaluations").iterdir()
    lines = [(folder / "predictions.jsonl").read_text() for folder in (run, again)]
    assert lines[0] == lines[1]


def test_an_evaluation_has_the_precision_of_the_run(
    rocoft: Cli, tiny_of: Callable[[str], Path], math_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import LlamaForCausalLM

    run = tmp_path / "run"
    options = ["--model", tiny_of("meta-llama/Llama-2-7b-hf"), "--data-dir", math_dir, "--epochs", 1]
    more = ["--set", "training.precision=bf16", "--set", "task.max_new_tokens=3", "--output", run]
    assert rocoft("train", "math", "--task", "gsm8k", *options, *more).code == 0
    seen: list[bool] = []
    forward = LlamaForCausalLM.forward
    monkeypatch.setattr(
        LlamaForCausalLM,
        "forward",
        lambda *args, **kwargs: seen.append(torch.is_autocast_enabled("cpu")) or forward(*args, **kwargs),
    )
    assert rocoft("evaluate", run).code == 0
    assert seen
    assert all(seen)


def test_notes_of_another_evaluation_are_left_behind(rocoft: Cli, run: Path) -> None:
    file = run / "record.json"
    record = json.loads(file.read_text())
    record["notes"] += ["7 evaluation prompts have more than 9 tokens and were cut", "the model takes 1024 tokens"]
    file.write_text(json.dumps(record))
    assert rocoft("evaluate", run, "--task", "addsub", "--set", "task.max_eval_rows=2").code == 0
    notes = records(run)["addsub"]["notes"]
    assert "the model takes 1024 tokens" in notes
    assert "only the first 2 of 5 evaluation examples are used" in notes
    assert not any("7 evaluation prompts" in note for note in notes)
    assert len(set(notes)) == len(notes)


def test_the_published_protocol_is_said_and_kept_apart(rocoft: Cli, run: Path) -> None:
    result = rocoft("evaluate", run, "--protocol", "published")
    assert result.code == 0, result.err
    assert "published: given the right response" in result.out
    report = rocoft("report", run)
    assert "published protocol" in report.out
    assert "Protocol: strict" in report.out


def test_a_run_of_the_published_protocol_answers_a_question_without_its_answer(
    rocoft: Cli, tiny_of: Callable[[str], Path], math_dir: Path, tmp_path: Path
) -> None:
    options = ["--model", tiny_of("meta-llama/Llama-2-7b-hf"), "--data-dir", math_dir, "--epochs", 1]
    run = tmp_path / "run"
    assert rocoft("train", "math", "--task", "gsm8k", "--protocol", "published", *options, "--output", run).code == 0
    result = rocoft("predict", run, "--text", "How many pens?")
    assert result.code == 0, result.err
    assert "no answer in" in result.out or "(from: " in result.out


def test_what_is_cut_of_a_question_is_said(rocoft: Cli, run: Path, tmp_path: Path) -> None:
    question, file = "How many pens? " * 40, tmp_path / "asked.csv"
    file.write_text(f"instruction\n{question}\nHow many?\n")
    for how in (("--text", question), ("--file", file, "--output", tmp_path / "answered.csv")):
        said = rocoft("predict", run, *how)
        assert "note: 1 evaluation prompts have more than 507 tokens" in said.err
    assert "note" not in rocoft("predict", run, "--text", "How many?").err


def test_what_is_there_already_is_not_evaluated_again(rocoft: Cli, run: Path) -> None:
    rocoft("evaluate", run, "--task", "addsub")
    (file,) = (run / "evaluations").glob("*/record.json")
    before = file.stat().st_mtime_ns
    assert rocoft("evaluate", run, "--task", "addsub").code == 0
    assert file.stat().st_mtime_ns == before
    assert rocoft("evaluate", run, "--task", "addsub", "--force").code == 0
    assert file.stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "adsub"], 'unknown math task "adsub": did you mean "addsub"'),
        (["--task", "svamp"], "no examples for math SVAMP"),
        (["--set", "training.epochs=3"], "--set training.epochs=3: the run is trained already"),
        (["--set", "task.loss_on=response"], "task.loss_on=response: the run is trained already"),
        (["--protocol", "leaky"], "task.protocol = 'leaky'"),
    ],
)
def test_bad_input(rocoft: Cli, run: Path, options: list[str], message: str) -> None:
    result = rocoft("evaluate", run, *options)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert not (run / "evaluations").exists()


def test_a_task_with_training_rows_of_its_own_alone(
    rocoft: Cli, tiny_model: Path, glue_dir: Path, tmp_path: Path
) -> None:
    options = ["--model", tiny_model, "--data-dir", glue_dir, "--epochs", 1, "--output", tmp_path / "run"]
    assert rocoft("train", "glue", "--task", "rte", *options).code == 0
    result = rocoft("evaluate", tmp_path / "run", "--task", "cola")
    assert result.code == 2
    assert "glue rte is its own training task" in result.err
    assert rocoft("evaluate", tmp_path / "run").code == 0
