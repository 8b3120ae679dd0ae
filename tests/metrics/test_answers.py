"""Accuracy of answers that were read out of text."""

from typing import Any

import pytest

from rocoft_bench.metrics import compute
from rocoft_bench.metrics.formulas import TOLERANCE


def test_an_answer_that_was_not_read_is_wrong_and_counted() -> None:
    scores = compute(["choice_answers"], ["", "true", "false", ""], ["true", "true", "true", "false"])
    assert scores == {"accuracy": 0.25, "unparsed": 0.5}
    assert list(scores) == ["accuracy", "unparsed"]
    assert compute(["number_answers"], [None, 2.0], [1.0, 2.0]) == {"accuracy": 0.5, "unparsed": 0.5}


@pytest.mark.parametrize(
    ("metric", "unread", "references"),
    [("choice_answers", "", ["true", "false"]), ("number_answers", None, [0.0, 2.0])],
)
def test_nothing_read_at_all_scores_zero(metric: str, unread: Any, references: list[Any]) -> None:
    assert compute([metric], [unread] * 2, references) == {"accuracy": 0.0, "unparsed": 1.0}
    assert compute([metric], references, references) == {"accuracy": 1.0, "unparsed": 0.0}


def test_numbers_may_differ_by_the_tolerance() -> None:
    near, far = 0.6666666 + TOLERANCE / 2, 0.6666666 - 2 * TOLERANCE
    assert compute(["number_answers"], [near, far], [0.6666666] * 2)["accuracy"] == 0.5


def test_choices_are_compared_as_they_are() -> None:
    assert compute(["choice_answers"], ["answer1", "Answer1"], ["answer1"] * 2)["accuracy"] == 0.5
