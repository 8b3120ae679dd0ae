from __future__ import annotations

import hashlib
import json
import re

import pytest

from rocoft_bench.demo.summaries import SPLIT_SIZES, STORIES, TEST_NOISE, summary_rows
from rocoft_bench.demo.words import NUMBERS, TEST, TRAIN, slots
from rocoft_bench.errors import UserError


def words_of(text: object) -> set[str]:
    return set(re.findall(r"\w+", str(text)))


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_the_columns_are_those_of_xsum_and_no_report_occurs_twice(split: str) -> None:
    rows = summary_rows(split)
    assert len(rows) == len({row["document"] for row in rows}) == len({row["id"] for row in rows}) == SPLIT_SIZES[split]
    assert {tuple(row) for row in rows} == {("document", "summary", "id")}


def test_the_rows_are_the_same_everywhere() -> None:
    hashes = {s: hashlib.sha256(json.dumps(summary_rows(s)).encode()).hexdigest()[:16] for s in SPLIT_SIZES}
    assert hashes == {"train": "a165004f31bb4fd4", "test": "94802491511d859b"}


@pytest.mark.parametrize(("split", "words"), [("train", TRAIN), ("test", TEST)])
def test_the_facts_of_the_summary_stand_in_the_report(split: str, words: object) -> None:
    values = {word.lower() for group in vars(words).values() for word in group} | set(NUMBERS)
    for row in summary_rows(split):
        told = {word.lower() for word in words_of(row["summary"])} & values
        assert len(told) >= 3, row
        assert told <= {word.lower() for word in words_of(row["document"])}, row


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_a_report_is_five_to_eight_sentences_and_its_summary_is_one(split: str) -> None:
    for row in summary_rows(split):
        assert 5 <= str(row["document"]).count(".") <= 8
        assert str(row["summary"]).count(".") == 1
        assert not re.search(r"\b[Aa] [aeiou]", f"{row['document']} {row['summary']}")


def test_each_fact_of_a_story_has_the_same_slots_in_each_wording() -> None:
    for story in STORIES:
        facts = list(zip(story.sentences, story.test_sentences, strict=True))
        needed = {slot.lower() for slot in slots(story.summary)}
        for wordings, own in facts:
            told = [{slot.lower() for slot in slots(wording)} & needed for wording in (*wordings, own)]
            assert all(names == told[0] for names in told)
        assert needed <= {slot.lower() for wordings, _ in facts for slot in slots(wordings[0])}


def test_the_test_split_has_words_and_sentences_of_its_own() -> None:
    for mine, other in (("train", TEST), ("test", TRAIN)):
        texts = set().union(*(words_of(row["document"]) | words_of(row["summary"]) for row in summary_rows(mine)))
        own = {word for words in vars(other).values() for word in words}
        assert not texts & own
    reports = {split: " ".join(str(row["document"]) for row in summary_rows(split)) for split in SPLIT_SIZES}
    assert all(noise.split("}")[-1] in reports["test"] for noise in TEST_NOISE)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match='did you mean "test"'):
        summary_rows("tset")
