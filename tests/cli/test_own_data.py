"""A file of the user's own: inspected, trained on, evaluated, answered, exported, and loaded by plain transformers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.analysis.records import read_results
from rocoft_bench.report.page.packing import predictions_of

Cli = Callable[..., Any]
FEW = ("--epochs", 1, "--rank", 1, "--set", "task.max_length=32")
SAID = ("the cat sleeps", 'a dog\nruns, "big" \N{CAT FACE}', "every bird sings", "no child eats in the house")


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """A file as spreadsheets write it: a byte order mark, breaks inside of cells, gaps, labels from 1."""
    file = tmp_path / "My animals.csv"
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["no", "what is said", "stars"])
        rows.writerows([n, f"{SAID[n % 4]} {n}", 1 + n % 3] for n in range(30))
        rows.writerows([[30, "", 1], [31, "some cat", ""]])
    return file


COLUMNS = ("--text-column", "what is said", "--label-column", "stars")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_labels_keep_their_names_from_the_file_to_plain_transformers(
    rocoft: Cli, animals: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run, answers, exported = (tmp_path / name for name in ("run", "answers.csv", "exported"))
    result = rocoft(
        "train", "classification", "--train-file", animals, *COLUMNS, "--model", tiny_model, "--output", run, *FEW
    )
    assert result.code == 0, result.err
    assert "macro_f1" in result.out
    record = json.loads((run / "record.json").read_text())
    assert (record["task"]["name"], record["data"]["evaluation"]["kind"]) == ("My-animals", "file")
    assert record["task"]["random_baseline"] == pytest.approx(1 / 3)
    assert any("3 of the 30 examples of My animals.csv are held out" in note for note in record["notes"])
    (found,) = read_results(run).runs
    shown = predictions_of(found)
    assert shown is not None
    assert set(shown.examples["reference"]) == {"1", "2", "3"}  # not the codes from 0
    animals.rename(tmp_path / "unlabelled.csv")  # what the run has learnt, it knows without the file
    result = rocoft("predict", run, "--file", tmp_path / "unlabelled.csv", "--output", answers)
    assert result.code == 0, result.err
    answered = rows_of(answers)
    assert [row["no"] for row in answered] == [str(n) for n in range(32)]
    assert answered[1]["what is said"] == f"{SAID[1]} 1"
    assert {row["prediction"] for row in answered} <= {"1", "2", "3"}
    assert rocoft("export", run, "--output", exported).code == 0
    _check_plain_model(exported, answered[0])


def _check_plain_model(folder: Path, answered: dict[str, str]) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "1", 1: "2", 2: "3"}
    inputs = AutoTokenizer.from_pretrained(folder)(answered["what is said"], return_tensors="pt")
    probabilities = torch.softmax(model(**inputs).logits[0], 0).detach()
    assert model.config.id2label[int(probabilities.argmax())] == answered["prediction"]
    assert float(probabilities.max()) == pytest.approx(float(answered["probability"]), abs=1e-4)


def test_inspect_shows_what_a_run_would_read(rocoft: Cli, animals: Path, tiny_model: Path) -> None:
    with animals.open("a", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([[32, f"{SAID[0]} 0", 3], [33, "NA", 2]])
    result = rocoft("inspect", animals, *COLUMNS, "--model", tiny_model, "--set", "task.max_length=10")
    assert result.code == 0, result.err
    for line in (
        "My animals.csv: 34 rows",
        "29 examples to train on, 3 to evaluate on (held-out)",
        'rows of My animals.csv left out for lack of "stars": 1 (the first: line 41)',
        'suspicious: texts of "what is said" that are a word for nothing: 1, e.g. "NA"',
        "texts with different answers: 1",
        "more than max_length 10",
        "[CLS] the cat sleeps",
    ):
        assert line in result.out
    assert rocoft("inspect", animals).code == 0
    wrong = rocoft("inspect", animals, "--text-column", "what is sad", "--label-column", "stars")
    assert wrong.code == 2
    assert 'did you mean "what is said"?' in wrong.err


def test_other_kinds_of_own_data_train_and_answer(
    rocoft: Cli, tiny_of: Callable[[str], Path], tiny_model: Path, tmp_path: Path
) -> None:
    questions = [{"question": f"who {n}?", "context": f"the cat {n} sleeps", "answers": f"cat {n}"} for n in range(20)]
    (tmp_path / "asked.json").write_text(json.dumps(questions))
    texts = [{"long": f"the cat {n} sleeps", "short": f"cat {n}"} for n in range(20)]
    (tmp_path / "short.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    kinds: dict[str, tuple[Path, list[object]]] = {
        "questions": (tmp_path / "asked.json", ["--model", tiny_of("FacebookAI/roberta-base")]),
        "seq2seq": (
            tmp_path / "short.jsonl",
            [
                *("--model", tiny_of("facebook/bart-large"), "--text-column", "long", "--label-column", "short"),
                *("--set", "task.max_new_tokens=4", "--set", "task.num_beams=1"),
            ],
        ),
        "regression": (
            tmp_path / "asked.json",
            ["--model", tiny_model, "--text-column", "question", "--label-column", "size"],
        ),
    }
    sized = [{**row, "size": n} for n, row in enumerate(questions)]
    for family, (file, options) in kinds.items():
        if family == "regression":
            file.write_text(json.dumps(sized))
        run = tmp_path / family
        result = rocoft("train", family, "--train-file", file, *options, "--output", run, "--epochs", 1)
        assert result.code == 0, result.err
        result = rocoft("predict", run, "--file", file, "--output", tmp_path / f"{family}.jsonl")
        assert result.code == 0, result.err
        answers = [json.loads(line) for line in (tmp_path / f"{family}.jsonl").read_text().splitlines()]
        assert len(answers) == 20
        assert all(type(row["prediction"]) is (float if family == "regression" else str) for row in answers)


def test_a_model_that_writes_has_to_be_named(rocoft: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "output": "b"}\n' * 3)
    result = rocoft("train", "instruct", "--train-file", tmp_path / "rows.jsonl")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "--model is missing: instruct needs one that transformers loads with AutoModelForCausalLM" in result.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--file", "gone.csv", "--output", "out.csv"], "gone.csv: no such file"),
        (["--file", "gone.csv"], "give one input"),
        (["--text", "x", "--file", "gone.csv", "--output", "out.csv"], "give one input"),
        (["--file", "gone.csv", "--output", "out.xls"], "the name ends as one of .csv, .tsv, .jsonl"),
    ],
)
def test_what_cannot_be_answered_is_said_before_a_model_is_loaded(
    rocoft: Cli, tmp_path: Path, options: list[str], message: str
) -> None:
    rows = [{"text": f"{n}", "label": n % 2} for n in range(8)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    given = {"run": tmp_path / "run"}
    config = {"task": {"family": "classification", "train_file": str(tmp_path / "rows.json"), "labels": ["0", "1"]}}
    given["run"].mkdir()
    (given["run"] / "config.yaml").write_text(json.dumps(config))
    (given["run"] / "record.json").write_text(json.dumps(RECORD))
    result = rocoft("predict", given["run"], *options)
    assert result.code == 2
    assert message in result.err


RECORD = {
    "status": "ok",
    **dict.fromkeys(("config_hash", "settings_hash", "label", "protocol", "finished_at"), "x"),
    "task": {"family": "classification", "name": "rows", "metric_names": ["accuracy"], "eval_split": "held-out"},
    **{"method": {"name": "rocoft"}, "model": {"name": "gone"}, "seed": 0, "keep": "last"},
}


def test_own_data_in_a_config_and_in_a_sweep(rocoft: Cli, animals: Path, tmp_path: Path) -> None:
    task = {"family": "classification", "train_file": str(animals), "text_column": "what is said"}
    config = {"task": {**task, "label_column": "stars"}, "model": "demo-llama"}
    (tmp_path / "own.yaml").write_text(json.dumps(config))
    result = rocoft("validate", tmp_path / "own.yaml")
    assert result.code == 0, result.err
    assert ["task.labels", "['1', '2', '3']", "the examples"] in [line.split("  ") for line in _squeezed(result.out)]
    assert "memory: about" in result.out
    (tmp_path / "sweep.yaml").write_text(json.dumps({**config, "axes": {"seed": [0, 1], "method": ["rocoft", "lora"]}}))
    result = rocoft("validate", tmp_path / "sweep.yaml")
    assert "4 runs: 2 seed x 2 method" in result.out
    (tmp_path / "own.yaml").write_text(json.dumps({**config, "task": {**task, "label_column": "star"}}))
    wrong = rocoft("validate", tmp_path / "own.yaml")
    assert (wrong.code, wrong.err.count("\n")) == (2, 1)
    assert 'did you mean "stars"?' in wrong.err


def _squeezed(text: str) -> list[str]:
    """Lines whose columns are two blanks apart."""
    return ["  ".join(filter(None, map(str.strip, line.split("  ")))) for line in text.splitlines()]
