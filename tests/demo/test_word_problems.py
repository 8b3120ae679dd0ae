from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import pytest

from rocoft_bench.demo.word_problems import KINDS, SPLIT_SIZES, TEST, TRAIN, word_problem_rows
from rocoft_bench.demo.world import TEST_CAST, TRAIN_CAST
from rocoft_bench.errors import UserError

LOSSES = "loses|sells|gives away|drops|throws away|hides"


def solved(problem: str) -> int:
    """The answer, worked out from the words of the problem alone."""
    numbers = [int(number) for number in re.findall(r"\d+", problem)]
    if "bags" in problem or "baskets" in problem:
        return numbers[0] * numbers[1]
    if "How many more" in problem:
        return numbers[0] - numbers[1]
    if re.search(r"together|both|in all", problem):
        return numbers[0] + numbers[1]
    total = numbers[0]
    for sentence, number in zip(problem.split(". ")[1:], numbers[1:], strict=False):
        total += -number if re.search(LOSSES, sentence) else number
    return total


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_answers_are_what_the_problem_says(split: str) -> None:
    for row in word_problem_rows(split):
        answer = solved(row["instruction"])
        assert row["answer"] == f"{answer}.0", row
        assert row["output"].endswith(f" The answer is {answer}."), row
        assert row["input"] == ""


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_worked_steps_hold_and_end_in_the_answer(split: str) -> None:
    for row in word_problem_rows(split):
        steps = re.findall(r"(\d+) ([-+*]) (\d+) = (\d+)\.", row["output"])
        assert len(steps) == (2 if row["kind"] == "two_steps" else 1), row
        for left, operator, right, value in steps:
            computed = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
            assert computed[operator] == int(value) > 0, row
            assert int(right) >= 2, "a plural noun follows"
        assert float(steps[-1][-1]) == float(row["answer"])


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_kinds_are_equally_frequent_and_problems_unique(split: str) -> None:
    rows = word_problem_rows(split)
    assert Counter(row["kind"] for row in rows) == dict.fromkeys(KINDS, SPLIT_SIZES[split] // len(KINDS))
    assert len({row["instruction"] for row in rows}) == len(rows) == SPLIT_SIZES[split]


def test_the_rows_are_the_same_everywhere() -> None:
    hashes = {s: hashlib.sha256(json.dumps(word_problem_rows(s)).encode()).hexdigest()[:16] for s in SPLIT_SIZES}
    assert hashes == {"train": "6d3f31c653c68abe", "test": "ca07a7535b3264c0"}


def test_the_test_split_has_people_things_and_frames_of_its_own() -> None:
    frames = [{frame for part in vars(split).values() for frame in part} for split in (TRAIN, TEST)]
    assert frames[0] & frames[1] == set()
    assert set(TRAIN_CAST.things) & set(TEST_CAST.things) == set()
    words = [
        set(re.findall(r"[A-Za-z]+", " ".join(row["instruction"] for row in word_problem_rows(s)))) for s in SPLIT_SIZES
    ]
    own = {name for name, _ in TEST_CAST.people} | set(TEST_CAST.things)
    assert own <= words[1]
    assert own & words[0] == set()
    assert {name for name, _ in TRAIN_CAST.people} & words[1] == set()


def test_pronouns_fit_the_person() -> None:
    pronouns = dict(TRAIN_CAST.people + TEST_CAST.people)
    for row in word_problem_rows("train") + word_problem_rows("test"):
        used = set(re.findall(r"\b(she|he)\b", row["instruction"].lower()))
        people = [word for word in re.findall(r"[A-Z][a-z]+", row["instruction"]) if word in pronouns]
        assert not used or used == {pronouns[people[0]]}, row


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match='did you mean "test"'):
        word_problem_rows("tset")
