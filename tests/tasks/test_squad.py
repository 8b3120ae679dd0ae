"""The SQuAD tasks: what they ask for and score, and which rows are refused."""

import copy
import csv
import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get

V1, V2 = get("squad", "v1.1"), get("squad", "v2.0")
CONTEXT = "The ferry to Lumo was cancelled on Friday because of thick fog."
QUESTION = "What stopped the ferry?"


def row(answer: str | None, context: str = CONTEXT, question: str = QUESTION) -> dict[str, Any]:
    texts = [] if answer is None else [answer]
    starts = [context.index(text) for text in texts]
    return {"question": question, "context": context, "answers": {"text": texts, "answer_start": starts}}


def settings_of(task: Any = V1, **values: Any) -> Any:
    return task.Settings(family=task.family, name=task.name, **values)


def test_what_it_asks_for_and_tells() -> None:
    assert V1.output(settings_of()) == "spans"
    assert "20 start and 20 end tokens" in V1.protocol(settings_of())
    assert "none above a margin of 1.5" in V2.protocol(settings_of(V2, null_threshold=1.5))
    assert V1.in_words({"prediction": "fog"}) == "fog"
    assert V2.in_words({"prediction": ""}) == "(no answer)"


def test_the_worked_example_of_the_docstring() -> None:
    context = "The ferry to Lumo was cancelled because of fog."
    rows = Dataset.from_list([row("fog", context)])
    assert rows[0]["answers"]["answer_start"] == [43]
    assert V1.score(["of fog"], V1.references(rows)) == {"exact_match": 0.0, "f1": pytest.approx(0.667, abs=1e-3)}
    assert V2.score(["of fog", ""], [["fog"], []])["NoAns_exact_match"] == 1.0


# Rows


def load(tmp_path: Path, rows: list[Any], task: Any = V1) -> Any:
    path = tmp_path / "squad" / task.name / "train.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return task.load("train", tmp_path)


OWN_FORM = {
    "version": "v2.0",
    "data": [
        {"title": "a", "paragraphs": []},
        {
            "title": "b",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": "q1",
                            "question": QUESTION,
                            "answers": [{"text": "fog", "answer_start": CONTEXT.index("fog")}],
                            "is_impossible": False,
                        },
                        {"id": "q2", "question": "Who?", "answers": [], "plausible_answers": [], "is_impossible": True},
                    ],
                }
            ],
        },
    ],
}


@pytest.mark.parametrize(("name", "indent"), [("train.json", 1), ("train.json", None), ("train.jsonl", 2)])
def test_squads_own_form_and_lists_of_records_give_the_same_rows(tmp_path: Path, name: str, indent: int | None) -> None:
    plain = load(tmp_path / "plain", [row("fog"), row(None, question="Who?")], V2)
    records = [{"text": "fog", "answer_start": CONTEXT.index("fog")}]
    listed = load(
        tmp_path / "listed", [row("fog") | {"answers": records}, row(None, question="Who?") | {"answers": []}], V2
    )
    file = tmp_path / "own" / "squad" / "v2.0" / name
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(OWN_FORM, indent=indent))
    own = V2.load("train", tmp_path / "own")
    assert plain.examples.to_list() == own.examples.to_list() == listed.examples.to_list()
    assert plain.origin["sha256"] == own.origin["sha256"] == listed.origin["sha256"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: data[1].pop("paragraphs"), 'data[1]: is not an object with a list "paragraphs"'),
        (lambda data: data.__setitem__(0, "x"), 'data[0]: is not an object with a list "paragraphs"'),
        (
            lambda data: data[1]["paragraphs"][0].update(qas={}),
            'data[1].paragraphs[0]: is not an object with a list "qas',
        ),
        (lambda data: data[1]["paragraphs"][0]["qas"].append(7), "data[1].paragraphs[0].qas[2]: is not an object"),
        (
            lambda data: data[1]["paragraphs"][0]["qas"][0].update(is_impossible=True),
            "qas[0]: is_impossible is true, but",
        ),
        (lambda data: data[1]["paragraphs"][0]["qas"][0].pop("answers"), 'question q1: no column "answers"; columns'),
        (lambda data: data[1]["paragraphs"][0].pop("context"), 'question q1: no column "context"; columns found: qas'),
        (lambda data: data[1]["paragraphs"][0].update(context=7), 'question q1: "context" is 7, not a string'),
        (
            lambda data: data[1]["paragraphs"][0]["qas"][1].update(id=7, question=7),
            'question 2: "question" is 7, not a',
        ),
        (lambda data: data.clear(), "is empty, it holds no rows"),
    ],
)
def test_what_is_wrong_with_squads_own_form_is_named(tmp_path: Path, change: Any, problem: str) -> None:
    squad = copy.deepcopy(OWN_FORM)
    change(squad["data"])
    file = tmp_path / "squad" / "v2.0" / "train.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(squad))
    with pytest.raises(UserError) as caught:
        V2.load("train", tmp_path)
    assert str(caught.value).startswith(str(file))
    assert problem in str(caught.value)


@pytest.mark.parametrize(("form", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_a_table_holds_answers_as_json(tmp_path: Path, form: str, delimiter: str) -> None:
    rows = [row("fog"), row("fog", "Of fog."), row(None)]
    file = tmp_path / "table" / "squad" / "v2.0" / f"train{form}"
    file.parent.mkdir(parents=True)
    quoting = csv.QUOTE_ALL if form == ".csv" else csv.QUOTE_NONE
    with file.open("w", newline="") as stream:
        table = csv.writer(stream, delimiter=delimiter, quoting=quoting, quotechar=None if form == ".tsv" else '"')
        table.writerow(rows[0])
        table.writerows([each["question"], each["context"], json.dumps(each["answers"])] for each in rows)
    assert V2.load("train", tmp_path / "table").origin["sha256"] == load(tmp_path, rows, V2).origin["sha256"]


def test_rows_load_and_hash_equal_whatever_else_they_hold(tmp_path: Path) -> None:
    plain = load(tmp_path, [row("fog")])
    answers = {"answer_start": [CONTEXT.index("fog")], "text": ["fog"], "more": 1}
    other = load(tmp_path, [{"id": "x", **row("fog"), "answers": answers}])
    assert plain.examples.to_list() == [row("fog")]
    assert plain.origin["sha256"] == other.origin["sha256"]


BAD = {
    "context is empty": ({**row(None), "context": " "}, '"context" is empty'),
    "question is missing": ({**row("fog"), "question": None}, '"question" is None, not a string'),
    "answers are a list": ({**row("fog"), "answers": ["fog"]}, '"answers" is [\'fog\'], not {"text": [...]'),
    "a text is no list": ({**row("fog"), "answers": {"text": "fog", "answer_start": [1]}}, 'not {"text": [...]'),
    "unequal lengths": ({**row("fog"), "answers": {"text": ["fog"], "answer_start": []}}, "1 answers, but 0 values"),
    "no answer": (row(None), "there is no answer, but each question of this task has one"),
    "empty answer": ({**row("fog"), "answers": {"text": [""], "answer_start": [1]}}, "the answer '' is not a text"),
    "start is text": (
        {**row("fog"), "answers": {"text": ["fog"], "answer_start": ["1"]}},
        "answer_start '1' is not an integer",
    ),
    "start is before": (
        {**row("fog"), "answers": {"text": ["fog"], "answer_start": [-1]}},
        "answer_start -1 is not inside the context of 63 characters",
    ),
    "start is behind": ({**row("fog"), "answers": {"text": ["fog"], "answer_start": [63]}}, "answer_start 63 is not"),
    "wrong span": (
        {**row("fog"), "answers": {"text": ["fog"], "answer_start": [4]}},
        'the span 4..7 of the context is "fer", not the answer "fog"',
    ),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_bad_rows_are_named(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, [row("fog"), bad])
    assert message in str(caught.value)
    assert "train.jsonl, line 2: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_without_an_answer_is_right_in_v2(tmp_path: Path) -> None:
    assert load(tmp_path, [row(None), row("fog")], V2).examples["answers"][0] == {"text": [], "answer_start": []}
