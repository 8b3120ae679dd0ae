"""Tasks on the user's own examples: which rows they are, and every way in which they can be wrong."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import tasks
from rocoft_bench.config import Settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.tasks.own.user_rows import held_out
from rocoft_bench.tasks.readers import RawRows

REVIEWS = [
    ('Great "tea", truly\n😀', 5),
    ("", 4),
    ("Cold, and late", 1),
    ("So-so", 3),
    ("Nothing to say", None),
    *((f"Bought {n} of them", 1 + n % 3 * 2) for n in range(27)),
]


def write_csv(path: Path, rows: list[tuple[Any, ...]], header: str = "review,stars", delimiter: str = ",") -> Path:
    """As spreadsheets do: with a byte order mark, cells in quotation marks, and nothing for a missing value."""
    cells = [['"' + str(cell).replace('"', '""') + '"' if cell is not None else "" for cell in row] for row in rows]
    lines = [header.replace(",", delimiter), *(delimiter.join(row) for row in cells)]
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig", newline="")
    return path


def write_as(form: str, folder: Path, rows: list[tuple[Any, ...]]) -> Path:
    path = folder / f"reviews{form}"
    if form == ".csv":
        return write_csv(path, rows)
    if form == ".tsv":
        return write_csv(path, rows, delimiter="\t")
    objects = [{"review": text, **({} if stars is None else {"stars": stars})} for text, stars in rows]
    if form == ".parquet":
        import pandas as pd

        pd.DataFrame(objects).to_parquet(path)  # stars with a gap become floats
    elif form == ".json":
        path.write_text(json.dumps(objects), encoding="utf-8")
    else:
        packed = gzip.compress("".join(json.dumps(row) + "\n" for row in objects).encode())
        path.write_bytes(packed)
    return path


def own(family: str = "classification", **settings: Any) -> Any:
    """The experiment of a task on own examples."""
    columns = {"text_column": "review", "label_column": "stars"}
    return resolve(Settings({"task": {"family": family, **columns, **settings}}))


@pytest.mark.parametrize("form", [".csv", ".tsv", ".json", ".jsonl.gz", ".parquet"])
def test_equal_rows_are_the_same_task_in_every_form(tmp_path: Path, form: str) -> None:
    task = own(train_file=str(write_as(form, tmp_path, REVIEWS))).task
    train, evaluation = task.load("train"), task.load("held-out")
    assert (task.name, task.label_names, task.text_columns) == ("reviews", ("1", "3", "5"), ("text",))
    assert len(train.examples) + len(evaluation.examples) == len(REVIEWS) - 2  # a text and a label are missing
    assert 'Great "tea", truly\n😀' in [*train.examples["text"], *evaluation.examples["text"]]
    assert train.origin["sha256"][:8] == "174f7e24"


def test_labels_of_every_kind_have_names(tmp_path: Path) -> None:
    kinds = {
        "texts": (["good", " bad", "good"], ("bad", "good")),
        "truth": ([True, False, True], ("false", "true")),
        "numbers": ([10, 9, 10], ("9", "10")),
        "mixed": ([1, "x", 1], ("1", "x")),
    }
    for kind, (labels, names) in kinds.items():
        rows = [{"review": f"{kind} {n}", "stars": label} for n, label in enumerate(labels)]
        (tmp_path / f"{kind}.json").write_text(json.dumps(rows), encoding="utf-8")
        experiment = own(train_file=str(tmp_path / f"{kind}.json"))
        assert experiment.task.label_names == names
        assert experiment.task.model_options["id2label"] == dict(enumerate(names))
        assert experiment.config.task.labels == names  # on record, so that later commands need no training file


def test_a_part_of_each_label_is_held_out_and_copies_of_a_text_stay_together() -> None:
    labels = ["a"] * 80 + ["b"] * 20
    texts = [f"text {n // 2}" for n in range(100)]
    held = held_out(texts, labels, 0.2, seed=0)
    assert Counter(labels[row] for row in held) == {"a": 16, "b": 4}
    assert {texts[row] for row in held}.isdisjoint(texts[row] for row in range(100) if row not in held)
    assert held == held_out(texts, labels, 0.2, seed=0) != held_out(texts, labels, 0.2, seed=1)


@pytest.mark.parametrize("seed", range(5))
def test_copies_do_not_make_the_held_out_part_large(seed: int) -> None:
    held = held_out(["copy"] * 60 + [f"text {n}" for n in range(40)], [""] * 100, 0.1, seed)
    assert len(held) == 10


@pytest.mark.parametrize(("rows", "held"), [(7, 1), (30, 3), (200, 20)])
def test_of_scores_no_more_is_held_out_than_the_share(tmp_path: Path, rows: int, held: int) -> None:
    file = write_csv(tmp_path / "scores.csv", [(f"text {n}", n) for n in range(rows)])
    assert len(own("regression", train_file=str(file)).task.load("held-out").examples) == held


@pytest.mark.parametrize(
    ("share", "message"),
    [(0, "task.eval_share = 0: input should be greater than 0"), (0.99, "too few to hold out a share of 0.99")],
)
def test_a_share_that_leaves_one_side_without_examples_is_refused(tmp_path: Path, share: float, message: str) -> None:
    file = write_as(".csv", tmp_path, REVIEWS)
    with pytest.raises(UserError, match=re.escape(message)):
        own(train_file=str(file), eval_share=share).task.load("train")


def test_what_is_held_out_or_left_out_is_said(tmp_path: Path) -> None:
    experiment = own(train_file=str(write_as(".csv", tmp_path, REVIEWS)))
    train, evaluation = experiment.task.load("train"), experiment.task.load("held-out")
    assert train.notes == (
        'rows of reviews.csv left out for lack of "review": 1 (the first: line 4)',
        'rows of reviews.csv left out for lack of "stars": 1 (the first: line 7)',
    )
    assert evaluation.notes == (
        "no evaluation examples were given: 3 of the 30 examples of reviews.csv are held out, stratified by label "
        "(eval_share 0.1, split_seed 0)",
    )


def test_evaluation_examples_that_are_trained_on_are_said(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [("a", 1), ("b", 2), ("c", 1)])
    evaluation = write_csv(tmp_path / "eval.csv", [("b", 2), ("d", 1)])
    task = own(train_file=str(train), eval_file=str(evaluation)).task
    assert task.load("evaluation").notes == ("1 of 2 evaluation examples are among the training examples too",)


def test_what_is_held_out_is_no_part_of_what_is_trained_on(tmp_path: Path) -> None:
    file = write_as(".csv", tmp_path, REVIEWS)
    whole, part = own(train_file=str(file), eval_file=str(file)).task, own(train_file=str(file)).task
    assert whole.load("train").origin["sha256"] == whole.sha256_of("train", None)
    assert part.sha256_of("train", None) == part.load("train").origin["sha256"] != whole.sha256_of("train", None)


def test_a_run_is_the_same_wherever_its_rows_lie_and_another_with_other_rows(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    here, there = (
        write_csv(folder / "r.csv", [("a", 1), ("b", 2), ("c", 1)]) for folder in (tmp_path, tmp_path / "there")
    )
    before = own(train_file=str(here)).identity.config_hash
    assert before == own(train_file=str(there)).identity.config_hash
    write_csv(there, [("a", 1), ("b", 2), ("d", 1)])
    assert before != own(train_file=str(there)).identity.config_hash


TWO = "review,stars\na,1\nb,2\n"
WRONG: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "no file": ("", "", {"train_file": "gone.csv"}, "gone.csv: no such file"),
    "a name near it": ("r.csv", TWO, {"train_file": "FOLDER/r.cvs"}, 'r.cvs: no such file; did you mean "r.csv"?'),
    "a folder": ("r.csv", TWO, {"train_file": "FOLDER"}, ": is a folder, not a file"),
    "no source": ("", "", {}, "task.train_file is missing"),
    "a split of no dataset": ("r.csv", TWO, {"dataset_eval_split": "test"}, "is of a dataset of the hub"),
    "two sources": ("r.csv", TWO, {"dataset": "owner/name"}, "give one of them"),
    "column": ("r.csv", TWO, {"text_column": "revue"}, 'no column "revue"; columns found: review, stars; did you mean'),
    "one column for two": ("r.csv", TWO, {"label_column": "review"}, '"review" is named twice'),
    "one class": ("r.csv", "review,stars\na,1\nb,1\n", {}, 'every row has the label "1" in "stars"'),
    "no texts": ("r.csv", "review,stars\n,1\n  ,2\n", {}, '"review" is empty in every row'),
    "no labels": ("r.csv", "review,stars\na,\nb,\n", {}, '"stars" is empty in every row'),
    "a label for each": ("r.csv", "review,stars" + "".join(f"\na,{n / 7}" for n in range(40)), {}, "the right column?"),
    "several labels": ("r.json", '[{"review": "a", "stars": ["x"]}]', {}, "row 1: label ['x'] is a list; an example"),
    "number as text": (
        "r.json",
        '[{"review": 5, "stars": 1}, {"review": "b", "stars": 2}]',
        {},
        '"review" is 5, not a',
    ),
    "not its form": ("r.parquet", TWO, {}, "not a readable Parquet file"),
    "binary": ("r.csv", b"PK\x03\x04\xff\xfe", {}, "is not UTF-8"),
    "unknown form": ("r.xlsx", "", {}, "the name tells no form that is read; it ends as one of .jsonl"),
    "too few": ("r.csv", TWO, {}, "2 examples, 2 of them different, are too few to hold out a share of 0.1"),
    "odd label setting": ("r.csv", TWO, {"labels": ["1"]}, "two labels or more are wanted"),
    "benchmark folder": ("r.csv", TWO, {"data_dir": "/tmp"}, "own examples are named by task.train_file"),
    "name": ("r.csv", TWO, {"name": "../x"}, "must consist of letters, digits"),
}


def load_both(**settings: Any) -> None:
    task = own(**settings).task
    for split in (task.train_split, task.eval_split):
        task.load(split)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, case: str) -> None:
    name, content, settings, message = WRONG[case]
    if name:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        settings = {"train_file": str(tmp_path / name), **settings}
        settings["train_file"] = settings["train_file"].replace("FOLDER", str(tmp_path))
    with pytest.raises(UserError) as error:
        load_both(**settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_label_that_was_not_learnt_is_named_with_its_line(tmp_path: Path) -> None:
    train = write_csv(tmp_path / "train.csv", [("a", "yes"), ("b", "no"), ("c", "yes")])
    evaluation = write_csv(tmp_path / "eval.csv", [("d", "no"), ("e", "maybe")])
    task = own(train_file=str(train), eval_file=str(evaluation)).task
    with pytest.raises(
        UserError, match=r'eval\.csv, line 3: label "maybe" is not one of those that are learnt: no, yes'
    ):
        task.load("evaluation")


def test_whole_numbers_are_labels_in_one_order_however_long(tmp_path: Path) -> None:
    names = ["1", "01", "7" * 5_000, "-3", "007"]
    file = write_csv(tmp_path / "a.csv", [(f"text {n}", name) for n, name in enumerate(names * 2)])
    assert own(train_file=str(file)).task.label_names == ("-3", "01", "1", "007", "7" * 5_000)


@pytest.mark.parametrize("column", ["text_column", "text_pair_column", "label_column"])
def test_a_column_has_a_name(tmp_path: Path, column: str) -> None:
    with pytest.raises(UserError, match=f"task.{column} = '': must be the name of a column"):
        own(train_file=str(write_as(".csv", tmp_path, REVIEWS)), **{column: ""})


def test_labels_are_text(tmp_path: Path) -> None:
    rows = [{"review": f"text {n}", "stars": "x" if n % 2 else "\ud800"} for n in range(9)]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"row 1: label \\ud800 holds half of a surrogate pair"):
        own(train_file=str(tmp_path / "a.json"))


def test_a_file_that_memory_cannot_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(2**42)  # takes no room on the disk
    with pytest.raises(UserError, match=r"rows are read into memory, which takes about 24,576\.0 GiB"):
        own(train_file=str(huge))


def test_scores_are_numbers_however_they_are_written(tmp_path: Path) -> None:
    rows = [(f"text {n}", f"{n / 4}") for n in range(40)]
    task = own("regression", train_file=str(write_csv(tmp_path / "r.csv", rows))).task
    held = task.load("held-out").examples["label"]
    assert len(held) == 4  # one of each quarter
    assert sorted(value // 2.5 for value in held) == list(range(4))
    for odd in ("inf", "1e39"):
        write_csv(tmp_path / "r.csv", [*rows, ("odd", odd)])
        with pytest.raises(UserError, match=f"line 42: label '{odd}' is not a number"):
            own("regression", train_file=str(tmp_path / "r.csv")).task.load("train")


def test_any_name_is_a_task_of_an_own_family() -> None:
    assert tasks.get("classification", "anything").scored_by == "accuracy"
    with pytest.raises(UserError, match='did you mean "classification"'):
        tasks.of_family("clasification")


def asked(tmp_path: Path, answers: list[Any], **settings: Any) -> Any:
    rows = [
        {"question": f"who {n}?", "context": "the cat and the dog", "answers": each} for n, each in enumerate(answers)
    ]
    (tmp_path / "asked.json").write_text(json.dumps(rows), encoding="utf-8")
    both = dict.fromkeys(("train_file", "eval_file"), str(tmp_path / "asked.json"))
    return resolve(Settings({"task": {"family": "questions", **both, **settings}})).task


def test_answers_may_be_written_in_several_ways(tmp_path: Path) -> None:
    squad = {"text": ["cat", "the cat"], "answer_start": [4, 0]}
    pairs = [{"text": text, "answer_start": start} for text, start in zip(*squad.values(), strict=True)]
    task = asked(tmp_path, [squad, pairs, json.dumps(squad), ["cat", "the cat"], json.dumps(["cat", "the cat"])])
    assert task.load("evaluation").examples["answers"][:] == [squad] * 5
    assert asked(tmp_path, ["dog"]).load("train").examples["answers"][:] == [{"text": ["dog"], "answer_start": [16]}]
    with pytest.raises(UserError, match="row 1: the answer 'bird' is not in the context"):
        asked(tmp_path, ["bird"]).load("train")


def test_questions_without_an_answer_have_to_be_allowed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"row 2: there is no answer.*task\.unanswerable=true"):
        asked(tmp_path, ["dog", None]).load("train")
    task = asked(tmp_path, ["dog", None], unanswerable=True)
    assert task.load("train").examples["answers"][1] == {"text": [], "answer_start": []}
    assert task.scored_by == asked(tmp_path, ["dog"]).scored_by == "squad_v2"


def test_rows_of_a_file_are_asked_with_all_that_the_task_reads(tmp_path: Path) -> None:
    rows = RawRows("f.csv", "line", [2, 3], {"instruction": ["a", None], "input": [None, "b"]})
    asked_of_math = tasks.get("math", "gsm8k").asked(rows)
    assert [(row["instruction"], row["input"], row["answer"]) for row in asked_of_math] == [
        ("a", "", ""),
        ("", "b", ""),
    ]
    task = own(train_file=str(write_as(".csv", tmp_path, REVIEWS))).task
    assert task.asked(RawRows("f.csv", "line", [2], {"review": ["x"]})) == [{"text": "x", "label": 0}]
    with pytest.raises(UserError, match=r'f\.csv: no column "review"; columns found: text'):
        task.asked(RawRows("f.csv", "line", [2], {"text": ["x"]}))
