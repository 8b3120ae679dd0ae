"""What rows add to a run's metric, read back from predictions of every kind of task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import tasks
from rocoft_bench.analysis.example_scores import SCORES, example_scores
from rocoft_bench.analysis.records import Run, read_results
from rocoft_bench.errors import UserError
from tests.made_up import run_record, write_run

RESULTS = Path(__file__).parents[2] / "results"

LABELS = ([0, 1, 1, 0, 1], [0, 1, 0, 0, 1])
TEXTS = (["the cat sat", "a dog", ""], ["the cat sat down", "a dog", "a bird"])

CASES: dict[tuple[str, str], tuple[list[Any], list[Any]]] = {
    ("glue", "rte"): LABELS,
    ("glue", "mrpc"): LABELS,
    ("glue", "cola"): LABELS,
    ("glue", "stsb"): ([0.5, -1e-05, 3.25, 5.0], [0.0, 1.0, 3.0, 4.8]),
    ("squad", "v1.1"): (["the fog", "rain", ""], [["fog"], ["snow", "Rain!"], ["sun"]]),
    ("squad", "v2.0"): (["the fog", "", "rain"], [["fog"], [], []]),
    ("summarization", "xsum"): TEXTS,
    ("commonsense", "boolq"): (["true", None, "false", "true"], ["true", "true", "true", "true"]),
    ("math", "gsm8k"): ([5.0, None, 7.0004, -3.0], [5.0, 4.0, 7.0, 3.0]),
    ("demo", "summaries"): TEXTS,
}


def written(folder: Path, family: str, task: str, predictions: list[Any], references: list[Any]) -> Run:
    """A run whose record has the metrics of its predictions."""
    metrics = tasks.get(family, task).score(predictions, references)
    record = run_record(family, task, metrics=metrics)
    record.data["eval_rows"] = len(references)
    write_run(folder, record, predictions, references)
    return Run("a", record, folder)


@pytest.mark.parametrize(("family", "task"), CASES, ids=["-".join(case) for case in CASES])
def test_gives_the_main_metric(tmp_path: Path, family: str, task: str) -> None:
    run = written(tmp_path, family, task, *CASES[family, task])
    expected = (run.record.metrics or {})[run.record.task["metric_names"][0]]
    found = example_scores(run)
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert len(found.rows) == len(CASES[family, task][0])


def test_the_published_protocol_leaves_unread_answers_out(tmp_path: Path) -> None:
    answers = [{"read": "5", "gold": "5"}, None, {"read": "4", "gold": "5"}, {"read": "", "gold": "5"}]
    assert example_scores(written(tmp_path, "math", "gsm8k", answers, [5.0] * 4)).value == pytest.approx(1 / 3)


def test_the_details_of_a_prediction_do_not_disturb(tmp_path: Path) -> None:
    run = written(tmp_path, "glue", "rte", *LABELS)
    lines = run.directory.predictions.read_text().splitlines()
    tricky = {"text": '{"index": 9, "prediction": 1, "reference": 0}', "scores": [0.1, 0.2]}
    longer = [json.dumps({**json.loads(line), **tricky}) + "\n" for line in lines]
    run.directory.predictions.write_text("".join(longer))
    assert example_scores(run).value == 0.8


def test_references_tell_runs_apart_that_were_judged_by_others(tmp_path: Path) -> None:
    same, again = (written(tmp_path / name, "glue", "rte", *LABELS) for name in "ab")
    other = written(tmp_path / "c", "glue", "rte", LABELS[0], LABELS[0])
    assert example_scores(same).references == example_scores(again).references != example_scores(other).references


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: None, "no predictions.jsonl"),
        (lambda text: "", "predictions.jsonl is damaged"),
        (lambda text: text[: text.rindex("reference")], "holds 4 of 5 rows"),
        (lambda text: text.replace("1", "\\", 1), "predictions.jsonl is damaged"),
        (lambda text: text.replace('"reference"', '"other"'), "predictions.jsonl is damaged"),
        (lambda text: "".join(text.splitlines(True)[:-1]), "holds 4 of 5 rows"),
        (lambda text: "".join(reversed(text.splitlines(True))), "not in order"),
        (lambda text: text.replace('"prediction": 1', '"prediction": 0'), "gives accuracy 60.00, the record 80.00"),
        (lambda text: text.replace('"prediction": 1', '"prediction": "x"'), "holds what accuracy does not take"),
    ],
)
def test_says_why_rows_cannot_be_told(tmp_path: Path, change: Any, reason: str) -> None:
    run = written(tmp_path, "glue", "rte", *LABELS)
    text = change(run.directory.predictions.read_text())
    run.directory.predictions.unlink() if text is None else run.directory.predictions.write_text(text)
    with pytest.raises(UserError, match=reason):
        example_scores(run)


@pytest.mark.parametrize(("family", "task"), [("squad", "v1.1"), ("summarization", "xsum")])
def test_predictions_of_another_kind_are_refused(tmp_path: Path, family: str, task: str) -> None:
    run = written(tmp_path, family, task, *CASES[family, task])
    lines = [{"index": index, "prediction": None, "reference": None} for index in range(run.record.data["eval_rows"])]
    run.directory.predictions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match="holds what"):
        example_scores(run)


@pytest.mark.skipif(not RESULTS.is_dir(), reason="the records of real runs are not here")
def test_a_metric_that_is_no_function_of_means_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = written(tmp_path, "glue", "rte", *LABELS)
    monkeypatch.delitem(SCORES, "accuracy")  # as of a plug-in's metric
    with pytest.raises(UserError, match="accuracy is not known"):
        example_scores(run)


def test_real_records_agree_with_their_predictions() -> None:
    runs = [run for run in read_results(RESULTS).runs if run.directory.predictions.is_file()]
    assert runs
    few = [run for index, run in enumerate(runs) if index % 10 == 0 or run.record.task["family"] == "demo"]
    assert all(example_scores(run).rows.shape[0] == run.record.data["eval_rows"] for run in few)
