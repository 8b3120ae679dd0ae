"""Multiple choice: rows, answers in text, likelihoods, both protocols, and all real rows where they are at hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from rocoft_bench.config import Settings, validate
from rocoft_bench.errors import UserError
from rocoft_bench.tasks import get
from rocoft_bench.tasks.answer_reading import first_choice, listed_choices
from rocoft_bench.tasks.commonsense import TASKS
from rocoft_bench.tasks.prompted import prompt
from rocoft_bench.untrusted.data_files import FORMS
from tests.tasks.characters import DATA_DIR, TOKENIZER, says, settings, write

real_rows = pytest.mark.skipif(
    not (DATA_DIR / "commonsense").is_dir(),
    reason=f"no commonsense rows in {DATA_DIR}; set ROCOFT_DATA_DIR to the folder above commonsense/",
)
NAMES = [task.name for task in TASKS]


def row(answer: str = "true", choices: str = "true/false", **changes: str) -> dict[str, str]:
    instruction = f"Please answer: is ice cold?\n\nAnswer format: {choices}"
    return {"instruction": instruction, "input": "", "output": f"the correct answer is {answer}", "answer": answer} | (
        changes
    )


def scored(task: Any, rows: Dataset, texts: list[str], **changes: Any) -> tuple[list[Any], dict[str, float]]:
    chosen = settings(task, **changes)
    encoded = task.encode(rows, TOKENIZER, chosen, training=False).examples
    outputs = [says(text) for text in texts]
    predictions = [made["prediction"] for made in task.read(outputs, encoded, rows, TOKENIZER, chosen)]
    return predictions, task.score(predictions, task.references(rows))


def test_the_first_choice_that_is_named_is_the_answer() -> None:
    assert first_choice("the correct answer is answer2", ("answer1", "answer2")) == "answer2"
    assert first_choice("answer2? no, answer1", ("answer1", "answer2")) == "answer2"
    assert first_choice("Answer2", ("answer1", "answer2")) is None
    assert listed_choices("x Option2: Maria Answer format: option1/option2") == ("option1", "option2")
    assert listed_choices("Answer format: true/false\nOr not?") == ()


def test_answers_are_read_and_scored() -> None:
    rows = Dataset.from_list([row("true"), row("false"), row("true"), row("false")])
    predictions, scores = scored(
        get("commonsense", "boolq"),
        rows,
        ["the correct answer is true", " false!", "the correct answer is", "it is true"],
    )
    assert predictions == ["true", "false", None, "true"]
    assert scores == {"accuracy": 0.5, "unparsed": 0.25}


def test_a_fifth_answer_can_be_given_where_a_row_has_five(tmp_path: Path) -> None:
    five = row("answer5", "answer1/answer2/answer3/answer4/answer5")
    write(tmp_path, "commonsense", "ARC-Easy", "test", [five])
    task = get("commonsense", "arc_easy")
    rows = task.load("test", tmp_path).examples
    assert scored(task, rows, ["the correct answer is answer5"])[1] == {"accuracy": 1.0, "unparsed": 0.0}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (row("maybe"), "row 2: \"answer\" is 'maybe', none of the choices true, false"),
        (row("answer1", "answer1/answer2"), 'row 2: the choice "answer1" is none of this task: true, false'),
        (row(instruction="Is ice cold?"), "row 2: the instruction does not end with its choices"),
        (row(output=" "), 'row 2: "output" is empty, so there is nothing to learn'),
        ({"instruction": "x"}, 'row 2: no column "input"; columns found: instruction'),
        (row() | {"answer": 1}, "row 2: \"answer\" is '1', none of the choices true, false"),
        (row() | {"answer": True}, 'row 2: "answer" is True, not a string'),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, bad: dict[str, Any], problem: str) -> None:
    file = write(tmp_path, "commonsense", "boolq", "train", [row(), bad])
    task = get("commonsense", "boolq")
    with pytest.raises(UserError) as caught:
        task.load_training(settings(task, data_dir=tmp_path))
    assert str(caught.value).startswith(f"{file}, {problem}")
    assert "\n" not in str(caught.value)


def test_an_empty_response_is_no_error_where_only_the_answer_counts(tmp_path: Path) -> None:
    write(tmp_path, "commonsense", "boolq", "test", [row(output="")])
    assert len(get("commonsense", "boolq").load("test", tmp_path).examples) == 1


def test_training_rows_are_the_tasks_own_or_those_that_train_on_names(tmp_path: Path) -> None:
    write(tmp_path, "commonsense", "social_i_qa", "train", [row("answer1", "answer1/answer2/answer3")])
    mixed = [row("answer1", "answer1/answer2"), row("true"), row("ending4", "ending1/ending4")]
    write(tmp_path, "commonsense", "commonsense_170k", "train", mixed)
    task = get("commonsense", "siqa")
    assert len(task.load_training(settings(task, data_dir=tmp_path)).examples) == 1
    loaded = task.load_training(settings(task, data_dir=tmp_path, train_on="commonsense_170k"))
    assert loaded.examples["answer"][:] == ["answer1", "true", "ending4"]
    assert loaded.origin["path"] == str(tmp_path / "commonsense" / "commonsense_170k" / "train.json")
    with pytest.raises(UserError, match=r'task.train_on = "social_i_qa": did you mean .*Allowed: arc_challenge, '):
        task.load_training(settings(task, data_dir=tmp_path, train_on="social_i_qa"))
    write(tmp_path, "commonsense", "commonsense_170k", "train", [*mixed, row("true", "yes/no")])
    with pytest.raises(UserError, match="row 4: \"answer\" is 'true', none of the choices yes, no"):
        task.load_training(settings(task, data_dir=tmp_path, train_on="commonsense_170k"))


def test_missing_training_rows_are_answered_with_those_that_are_there(tmp_path: Path) -> None:
    write(tmp_path, "commonsense", "ARC-Easy", "train", [row()])
    task = get("commonsense", "boolq")
    with pytest.raises(UserError) as caught:
        task.load_training(settings(task, data_dir=tmp_path))
    folder = tmp_path / "commonsense" / "boolq"
    assert str(caught.value) == (
        f"no training examples: looked for {folder / 'train'}{', '.join(FORMS)}; "
        "choose examples that are there with --train-on: arc_easy"
    )


def test_the_most_likely_choice_is_the_answer() -> None:
    task = get("commonsense", "arc_easy")
    rows = Dataset.from_list([row("answer2", "answer1/answer2"), row("answer1", "answer1/answer2/answer3")])
    likely = settings(task, scoring="likelihood")
    encoded = task.encode(rows, TOKENIZER, likely, training=False).examples
    outputs = [np.array([score, 1]) for score in (-3.0, -2.0, -4.0, -5.0, -4.0)]
    predictions = task.read(outputs, encoded, rows, TOKENIZER, likely)
    assert [made["prediction"] for made in predictions] == ["answer2", "answer1"]
    assert predictions[1]["scores"] == {"answer1": -4.0, "answer2": -5.0, "answer3": -4.0}
    assert task.score(["answer2", "answer1"], task.references(rows)) == {"accuracy": 1.0, "unparsed": 0.0}
    assert task.protocol(likely) != task.protocol(settings(task))


@pytest.mark.parametrize(
    ("name", "continuation", "gold", "expected"),
    [
        ("boolq", "true", "false", {"read": "true", "gold": "false"}),
        ("boolq", "true or false", "false", {"read": "false", "gold": "false"}),
        ("boolq", "", "true", {"read": "true", "gold": "true"}),
        ("piqa", "neither", "solution1", {"read": "solution2", "gold": "solution1"}),
        ("arc_easy", "answer2 answer1", "answer1", {"read": "answer1", "gold": "answer1"}),
        ("arc_easy", "ending", "answer1", None),
        ("arc_easy", "answer5", "answer5", None),
    ],
)
def test_the_published_protocol_reads_as_the_notebooks(
    name: str, continuation: str, gold: str, expected: dict[str, str] | None
) -> None:
    task = get("commonsense", name)
    scored_text = task._as_published(*(f"### Response:\n the correct answer is {end}" for end in (continuation, gold)))
    assert scored_text == expected


def test_the_published_accuracy_leaves_out_what_cannot_be_read() -> None:
    task = get("commonsense", "hellaswag")
    rows = Dataset.from_list([row(f"ending{place}", "ending1/ending2/ending3/ending4") for place in (1, 2, 3, 4)])
    texts = ["g1", "g3", "??", "g4"]
    predictions, scores = scored(task, rows, texts, protocol="published")
    assert predictions[0] == {"read": "ending1", "gold": "ending1"}
    assert predictions[2] is None
    assert scores == {"accuracy": 2 / 3, "unparsed": 0.25}
    assert scored(task, rows, ["??"] * 4, protocol="published")[1] == {"accuracy": 0.0, "unparsed": 1.0}
    chosen = settings(task, protocol="published")
    assert task.generation(chosen) == {"max_new_tokens": 7, "num_beams": 1}
    assert task.protocol(chosen).startswith("published: ")


def test_settings_are_checked() -> None:
    task = get("commonsense", "boolq")
    values = {"task": {"family": "commonsense", "name": "boolq", "protocol": "published", "scoring": "likelihood"}}
    with pytest.raises(UserError, match=r"task\.scoring = 'likelihood': the protocol .published. generates"):
        validate(Settings(values), task.Settings)
    assert settings(task).max_new_tokens == 32


def test_one_text_makes_a_question_and_an_answer_in_words() -> None:
    task = get("commonsense", "boolq")
    asked = Dataset.from_list([task.question("Is ice cold? Answer format: true/false")])
    for scoring, outputs in (
        ("generate", [says("it is true")]),
        ("likelihood", [np.array([-1.0, 4]), np.array([-2.0, 4])]),
    ):
        chosen = settings(task, scoring=scoring)
        encoded = task.encode(asked, TOKENIZER, chosen, training=False).examples
        (prediction,) = task.read(outputs, encoded, asked, TOKENIZER, chosen)
        assert task.in_words(prediction).startswith("true  (")
    assert task.in_words({"prediction": None, "text": "Hm."}) == "no answer in: Hm."


@real_rows
@pytest.mark.parametrize("name", NAMES)
def test_right_responses_score_100_percent_and_shuffled_ones_as_guesses_do(name: str) -> None:
    task: Any = get("commonsense", name)
    rows = task.load("test", DATA_DIR).examples
    responses = rows["output"][:]
    strict = settings(task)
    outputs = [says(text) for text in responses]
    right = [made["prediction"] for made in task.read(outputs, rows, rows, TOKENIZER, strict)]
    assert task.score(right, task.references(rows)) == {"accuracy": 1.0, "unparsed": 0.0}
    random.Random(0).shuffle(right)
    assert task.score(right, task.references(rows))["accuracy"] == pytest.approx(task.random_baseline, abs=0.04)
    listed = [listed_choices(instruction) for instruction in rows["instruction"]]
    assert np.mean([1 / len(choices) for choices in listed]) == pytest.approx(task.random_baseline, abs=1e-6)
    assert len(task.load_training(settings(task, data_dir=DATA_DIR)).examples) > 100


@real_rows
@pytest.mark.parametrize("name", NAMES)
def test_no_prompt_tells_the_answer(name: str) -> None:
    """The prompt of a row ends with the template, is the same whatever the response is, and has no "the correct …"."""
    task: Any = get("commonsense", name)
    rows = task.load("test", DATA_DIR).examples
    swapped = rows.map(lambda row: {"output": "x", "answer": listed_choices(row["instruction"])[0]})
    for kept, other in zip(_prompts(task, rows), _prompts(task, swapped), strict=True):
        assert kept == other
        assert "the correct answer is" not in kept
        assert kept.endswith("\n                ### Response:\n                ")


def _prompts(task: Any, rows: Dataset) -> list[str]:
    encoded = task.encode(rows, TOKENIZER, settings(task), training=False)
    assert not encoded.notes
    expected = [prompt(text) for text in rows["instruction"]]
    prompts = [TOKENIZER.decode(ids) for ids in encoded.examples["input_ids"]]
    assert prompts == expected
    return prompts
