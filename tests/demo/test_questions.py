from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import pytest

from rocoft_bench.demo.questions import SPLIT_SIZES, question_rows
from rocoft_bench.demo.words import DAYS, MONTHS, NUMBERS, TEST, TRAIN, YEARS, fill
from rocoft_bench.errors import UserError


def text_of(split: str) -> set[str]:
    return {word for row in question_rows(split) for word in re.findall(r"\w+", f"{row['context']} {row['question']}")}


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_the_columns_are_those_of_squad_and_no_passage_occurs_twice(split: str) -> None:
    rows = question_rows(split)
    assert len(rows) == len({row["context"] for row in rows}) == len({row["id"] for row in rows}) == SPLIT_SIZES[split]
    assert {tuple(row) for row in rows} == {("id", "title", "context", "question", "answers")}


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_answers_stand_where_they_say_as_whole_words(split: str) -> None:
    for row in question_rows(split):
        (text,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        context = f" {row['context']} "
        assert context[start + 1 : start + 1 + len(text)] == text
        assert not context[start].isalnum()
        assert not context[start + 1 + len(text)].isalnum()


def test_the_rows_are_the_same_everywhere() -> None:
    hashes = {s: hashlib.sha256(json.dumps(question_rows(s)).encode()).hexdigest()[:16] for s in SPLIT_SIZES}
    assert hashes == {"train": "1b64096bb53e6b4f", "test": "a712139951c28e12"}


def test_the_test_split_has_names_places_and_things_of_its_own() -> None:
    for mine, other in (("train", TEST), ("test", TRAIN)):
        held_out = {word for words in vars(other).values() for word in words}
        assert not text_of(mine) & held_out
    assert text_of("train") & set(TRAIN.names)


def test_the_test_split_has_sentences_and_questions_of_its_own() -> None:
    def starts(split: str, column: str) -> set[str]:
        return {" ".join(str(row[column]).split()[:2]) for row in question_rows(split)}

    assert {"In what", "For how"} <= starts("test", "question") - starts("train", "question")
    assert {"It was", "The birth"} <= starts("test", "context") - starts("train", "context")


def test_three_passages_in_four_hold_another_piece_of_the_answers_sort() -> None:
    sorts = {frozenset(group) for group in (*vars(TRAIN).values(), *vars(TEST).values(), DAYS, MONTHS, NUMBERS, YEARS)}
    several = 0
    for row in question_rows("train"):
        answer = str(row["answers"]["text"][0]).split()[0]
        sort = next(sort for sort in sorts if answer in sort or answer.lower() in sort)
        found = {word for word in re.findall(r"\w+", str(row["context"])) if word in sort or word.lower() in sort}
        several += len(found) >= 2
        assert 5 <= str(row["context"]).count(".") <= 8
    assert several / SPLIT_SIZES["train"] >= 0.75


def test_questions_ask_for_everything() -> None:
    asked = Counter(str(row["question"]).split()[0] for row in question_rows("train"))
    assert set(asked) == {"Who", "Whom", "What", "Where", "When", "How", "In", "On", "By"}
    assert min(asked.values()) >= 30


def test_fill_says_where_the_values_begin() -> None:
    assert fill("{a} saw {b}.", {"a": "Olga", "b": "Max"}) == ("Olga saw Max.", {"a": 0, "b": 9})


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match='did you mean "test"'):
        question_rows("tset")
