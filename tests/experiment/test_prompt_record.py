"""What records hold of the prompt, of the embedded tasks and models."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.analysis.groups import by_examples, records_of
from rocoft_bench.analysis.long_table import long_table
from rocoft_bench.analysis.records import read_results
from rocoft_bench.config import ModelConfig
from rocoft_bench.models import locate
from rocoft_bench.tasks import prompted

Cli = Callable[..., Any]
FEW = ["--epochs", 1, "--set", "task.max_train_rows=4", "--set", "task.max_eval_rows=4"]


def trained(rocoft: Cli, folder: Path, *options: object) -> dict[str, Any]:
    """The prompt on record of a run that was trained."""
    result = rocoft("train", "demo", *options, *FEW, "--output", folder)
    assert result.code == 0, result.err
    prompt: dict[str, Any] = json.loads((folder / "record.json").read_text())["prompt"]
    return prompt


def tokenizer_of(model: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(locate(ModelConfig(name=model)).path)


LLAMA = ("--task", "choices", "--model", "demo-llama", "--set", "task.max_new_tokens=4")


def test_a_run_records_its_first_examples_and_what_ends_an_answer(rocoft: Cli, tmp_path: Path) -> None:
    prompt = trained(rocoft, tmp_path / "run", *LLAMA, "--set", "task.loss_on=response")
    tokenizer = tokenizer_of("demo-llama")
    training, asked = prompt["training"], prompt["evaluation"]
    assert tokenizer.decode(training["input_ids"]) == training["text"]
    assert "### Response:" in asked["text"]
    assert "the correct answer is" not in asked["text"]
    learnt = [id for id, counts in zip(training["input_ids"], training["loss_mask"], strict=True) if counts]
    assert tokenizer.decode(learnt).lstrip().startswith("the correct answer is")
    assert learnt[-1] == tokenizer.eos_token_id == prompt["stop"]["eos_token_id"]
    assert prompt["stop"]["max_new_tokens"] == 4
    assert prompt["stop"]["eos_token"] == tokenizer.eos_token


def test_another_template_is_another_version_and_another_cell(
    rocoft: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trained(rocoft, tmp_path / "a", *LLAMA)
    again = trained(rocoft, tmp_path / "b", *LLAMA, "--seed", 1)
    monkeypatch.setattr(prompted, "_ALONE", "Answer this.")
    after = trained(rocoft, tmp_path / "c", *LLAMA, "--seed", 2)
    assert before["template_version"] == again["template_version"] != after["template_version"]
    assert after["evaluation"]["text"].count("Answer this.") == 1
    tables = by_examples(records_of(long_table(read_results(tmp_path))))
    assert sorted(sorted(run.id for run in table.runs) for table in tables) == [["a", "b"], ["c"]]
    evaluated = rocoft("evaluate", tmp_path / "a", "--set", "task.max_new_tokens=5")
    assert evaluated.code == 0, evaluated.err
    (record,) = (tmp_path / "a" / "evaluations").rglob("record.json")
    version = json.loads(record.read_text())["prompt"]["template_version"]
    assert version == f"{after['template_version']}, trained with {before['template_version']}"


def test_a_summary_has_its_target_and_classification_has_no_prompt(rocoft: Cli, tmp_path: Path) -> None:
    bart = trained(rocoft, tmp_path / "bart", "--task", "summaries", "--model", "demo-bart")
    target = bart["training"]
    assert tokenizer_of("demo-bart").decode(target["target_ids"]) == target["target_text"]
    assert len(target["loss_mask"]) == len(target["target_ids"])
    assert "target_ids" not in bart["evaluation"]
    assert bart["stop"]["num_beams"] == 4
    assert trained(rocoft, tmp_path / "spans", "--task", "questions", "--model", "demo-roberta") == {}
