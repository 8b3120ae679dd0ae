"""Word problems: numbers in text, training examples, the published protocol's leak, and all real rows where at hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from rocoft_bench.config import Settings, validate
from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get
from rocoft_bench.tasks.answer_reading import last_number
from rocoft_bench.tasks.math import TASKS
from rocoft_bench.tasks.prompted import prompt
from tests.tasks.characters import DATA_DIR, TOKENIZER, says, settings, write

real_rows = pytest.mark.skipif(
    not (DATA_DIR / "math").is_dir(),
    reason=f"no math rows in {DATA_DIR}; set ROCOFT_DATA_DIR to the folder above math/",
)
NAMES = [task.name for task in TASKS]
ROWS = {"gsm8k": 1319, "multiarith": 600, "addsub": 395, "singleeq": 508, "svamp": 1000}


def row(answer: str = "36.0", **changes: str) -> dict[str, str]:
    output = "\nA: She has 3 * 12 = 36 pens. The answer is 36."
    return {"instruction": "Ada has 3 boxes of 12 pens. How many?", "input": "", "output": output, "answer": answer} | (
        changes
    )


def read(task: Any, rows: Dataset, texts: list[str], **changes: Any) -> list[Any]:
    chosen = settings(task, **changes)
    encoded = task.encode(rows, TOKENIZER, chosen, training=False).examples
    outputs = [says(text) for text in texts]
    return [made["prediction"] for made in task.read(outputs, encoded, rows, TOKENIZER, chosen)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 36.", 36.0),
        ("3 * 12 = 36, so 1,400.50 in all", 1400.5),
        ("-5", -5.0),
        ("so \u22125", -5.0),
        ("7\u22125 = 2", 2.0),
        ("The answer is 3/4.", 0.75),
        ("24/2 = 12", 12.0),
        ("on 1/2/2024", 2024.0),
        ("$12/hour", 12.0),
        ("3/0", None),
        ("none", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_the_last_number_is_the_answer(text: str, number: float | None) -> None:
    assert last_number(text) == number


def test_answers_are_read_and_scored() -> None:
    task = get("math", "svamp")
    rows = Dataset.from_list([row(), row("0.6666666666666666"), row(), row("7")])
    predictions = read(task, rows, ["3 * 12 = 36", "2 / 3 = 0.6667", "many", "36"])
    assert predictions == [36.0, 0.6667, None, 36.0]
    assert task.score(predictions, task.references(rows)) == {"accuracy": 0.5, "unparsed": 0.25}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (row(output=""), 'row 2: "output" is empty, so there is nothing to learn'),
        (row() | {"output": 36}, 'row 2: "output" is 36, not a string'),
        ({"question": "x"}, 'row 2: no column "instruction"; columns found: question'),
    ],
)
def test_a_bad_training_row_is_named(tmp_path: Path, bad: dict[str, Any], problem: str) -> None:
    file = write(tmp_path, "math", "math_10k", "train", [row(), bad])
    task = get("math", "gsm8k")
    with pytest.raises(UserError) as caught:
        task.load_training(settings(task, data_dir=tmp_path))
    assert str(caught.value) == f"{file}, {problem}"


def test_training_rows_may_have_any_answer(tmp_path: Path) -> None:
    """math_10k mixes in multiple choice, whose answer is a letter; what is learnt is the output."""
    answers = ["36.0", "B", "1,450", 36, 0.5, None, "3/4"]
    write(tmp_path, "math", "math_10k", "train", [row() | {"answer": answer} for answer in answers])
    task = get("math", "gsm8k")
    rows = task.load_training(settings(task, data_dir=tmp_path)).examples
    assert rows["answer"][:] == ["36.0", "B", "1,450", "36", "0.5", "", "3/4"]
    assert len(task.encode(rows, TOKENIZER, settings(task), training=True).examples) == len(answers)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("36.0", 36.0),
        (" 7 ", 7.0),
        ("1,450", 1450.0),
        ("-1,234,567.5", -1234567.5),
        (1450, 1450.0),
        (-0.5, -0.5),
        ("3/4", 0.75),
        ("\u22127/2", -3.5),
        ("1e3", 1000.0),
    ],
)
def test_the_answer_of_an_evaluated_row_is_a_number_in_any_spelling(tmp_path: Path, answer: Any, number: float) -> None:
    write(tmp_path, "math", "gsm8k", "test", [row() | {"answer": answer}])
    task = get("math", "gsm8k")
    assert task.references(task.load("test", tmp_path).examples) == [number]


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("many", "'many', not a number"),
        ("inf", "'inf', not a number"),
        (float("nan"), "'NaN', not a number"),
        ("9" * 400, "not a number"),
        ("1,45", "'1,45', not a number"),
        ("3/0", "'3/0', not a number"),
        ("1/2/3", "'1/2/3', not a number"),
        (None, "'', not a number"),
        (True, "True, not a string"),
        ([36], "[36], not a string"),
    ],
)
def test_an_evaluated_row_without_a_number_is_named(tmp_path: Path, answer: Any, shown: str) -> None:
    file = write(tmp_path, "math", "gsm8k", "test", [row(), row() | {"answer": answer}])
    with pytest.raises(UserError) as caught:
        get("math", "gsm8k").load("test", tmp_path)
    assert str(caught.value).startswith(f'{file}, row 2: "answer" is ')
    assert str(caught.value).endswith(shown)
    assert len(str(caught.value)) < len(str(file)) + 100


def test_runs_on_math_10k_say_that_it_holds_test_questions(tmp_path: Path) -> None:
    write(tmp_path, "math", "math_10k", "train", [row()])
    write(tmp_path, "math", "gsm8k", "train", [row(), row()])
    task = get("math", "addsub")
    leak = "math_10k holds test questions of AddSub, MultiArith and SingleEq (LLM-Adapters issue 43)"
    for chosen, count, notes in (
        (settings(task, data_dir=tmp_path), 1, (leak,)),
        (settings(task, data_dir=tmp_path, train_on="gsm8k"), 2, ()),
    ):
        rows = task.load_training(chosen).examples
        assert len(rows) == count
        assert task.encode(rows, TOKENIZER, chosen, training=True).notes == notes
        assert task.encode(rows, TOKENIZER, chosen, training=False).notes == ()


def test_missing_training_rows_are_answered_with_a_way_out(tmp_path: Path) -> None:
    write(tmp_path, "math", "gsm8k", "train", [row()])
    task = get("math", "svamp")
    with pytest.raises(UserError, match=r"math_10k/train.jsonl, .*--train-on: gsm8k$"):
        task.load_training(settings(task, data_dir=tmp_path))
    with pytest.raises(UserError, match=r"SVAMP has no train examples in AGI-Edgerunners/LLM-Adapters; .* --data-dir"):
        task.load_training(settings(task, train_on="svamp"))


def test_there_are_no_likelihoods_of_numbers() -> None:
    values = {"task": {"family": "math", "name": "svamp", "scoring": "likelihood"}}
    with pytest.raises(UserError, match=r"task\.scoring = 'likelihood': there are no choices to compare; use generate"):
        validate(Settings(values), get("math", "svamp").Settings)
    assert settings(get("math", "svamp")).max_new_tokens == 256


def test_published_accuracy_is_that_of_copying_and_ignores_the_answer() -> None:
    """A model that goes on with the text as it stands scores 100 %, though the worked solution is wrong."""
    task = get("math", "gsm8k")
    wrong = row("40.0")
    rows = Dataset.from_list([wrong, wrong, row(output=""), wrong])
    predictions = read(task, rows, ["s 36.", "s 37.", "", "!"], protocol="published")
    assert predictions == [{"read": "36.0", "gold": "36.0"}, {"read": "37.0", "gold": "36.0"}, None, None]
    assert task.score(predictions, task.references(rows)) == {"accuracy": 0.5, "unparsed": 0.5}
    strict = read(task, rows, ["The answer is 36."] * 4)
    assert task.score(strict, task.references(rows))["accuracy"] == 0.25


@pytest.mark.parametrize(
    ("name", "text", "answer"),
    [
        ("gsm8k", "The answer is 3.50 or 4.", "3.5"),
        ("multiarith", "The answer is 3.50 or 4.", "3"),
        ("svamp", "The answer is -5.", "5.0"),
        ("addsub", "The answer is four. The answer is 4.", None),
        ("singleeq", "So 4.", None),
    ],
)
def test_the_published_protocol_reads_as_the_notebooks(name: str, text: str, answer: str | None) -> None:
    task: Any = get("math", name)
    assert task.published.answer(text) == answer


@real_rows
@pytest.mark.parametrize("name", NAMES)
def test_right_responses_score_100_percent_and_shuffled_ones_near_nothing(name: str) -> None:
    task: Any = get("math", name)
    rows = task.load("test", DATA_DIR).examples
    assert len(rows) == ROWS[name]
    predictions = read(task, rows, [f"1 + 1 = 2, so the answer is {answer}." for answer in rows["answer"]])
    assert task.score(predictions, task.references(rows)) == {"accuracy": 1.0, "unparsed": 0.0}
    random.Random(0).shuffle(predictions)
    assert task.score(predictions, task.references(rows))["accuracy"] < 0.05


@real_rows
@pytest.mark.parametrize("name", NAMES)
def test_strict_prompts_hold_the_question_only_and_published_ones_the_solution(name: str) -> None:
    task: Any = get("math", name)
    rows = task.load("test", DATA_DIR).examples
    strict, published = (
        task.encode(rows, TOKENIZER, settings(task, protocol=protocol), training=False).examples
        for protocol in ("strict", "published")
    )
    shown = 0
    for asked, given, question, response in zip(
        strict["input_ids"], published["input_ids"], rows["instruction"], rows["output"], strict=True
    ):
        assert TOKENIZER.decode(asked) == prompt(question)
        assert not response.strip() or response.strip() not in TOKENIZER.decode(asked)
        shown += len(response) > 20 and response[:-5] in TOKENIZER.decode(given)
    assert shown > 0.99 * len(rows)


@real_rows
def test_gsm8k_can_be_trained_on() -> None:
    task = get("math", "svamp")
    chosen = settings(task, data_dir=DATA_DIR, train_on="gsm8k")
    loaded = task.load_training(chosen)
    assert len(loaded.examples) == 7473
    task.load_training(chosen)
