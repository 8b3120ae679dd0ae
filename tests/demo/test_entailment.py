from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import pytest

from rocoft_bench.demo.entailment import PHENOMENA, SPLIT_SIZES, entailment_rows
from rocoft_bench.demo.lexicon import NUMBERS, TEST, TRAIN
from rocoft_bench.errors import UserError

FUNCTION_WORDS = {
    *("the", "a", "an", "of", "in", "at", "by", "and", "or", "that", "we", "heard", "was", "did", "not", "no"),
    *("all", "some", "most", "many", "more", "than", "least", "fewer", *NUMBERS),
    *("before", "after", "last", "week", "today", "yesterday", "this", "morning"),
}


def content_words(split: str) -> set[str]:
    texts = (f"{row['sentence1']} {row['sentence2']}" for row in entailment_rows(split))
    return {word for text in texts for word in re.findall(r"[a-z]+", text.lower())} - FUNCTION_WORDS


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_labels_are_balanced_within_each_phenomenon_and_pairs_are_unique(split: str) -> None:
    rows = entailment_rows(split)
    counts = Counter((row["phenomenon"], row["label"]) for row in rows)
    per_label = SPLIT_SIZES[split] // len(PHENOMENA) // 2
    assert counts == {(name, label): per_label for name in PHENOMENA for label in (0, 1)}
    assert len({(row["sentence1"], row["sentence2"]) for row in rows}) == len(rows) == SPLIT_SIZES[split]


def test_the_rows_are_the_same_everywhere() -> None:
    hashes = {s: hashlib.sha256(json.dumps(entailment_rows(s)).encode()).hexdigest()[:16] for s in SPLIT_SIZES}
    assert hashes == {"train": "7794ad6c40c659f6", "test": "9a3e7230df11b69d"}


def test_the_test_split_has_frames_and_words_of_its_own() -> None:
    assert content_words("train") & content_words("test") == set()
    assert set(TRAIN.frames) & set(TEST.frames) == set()


def test_numbers_are_labelled_by_arithmetic() -> None:
    holds = {
        "more than": lambda a, b: a > b,
        "at least": lambda a, b: a >= b,
        "fewer than": lambda a, b: a < b,
        "at most": lambda a, b: a <= b,
    }
    rows = [row for row in entailment_rows("train") if row["phenomenon"] == "numbers"]
    for row in rows:
        first = re.findall(r"[a-z]+", str(row["sentence1"]).lower())
        actual = next(NUMBERS.index(word) for word in first if word in NUMBERS)
        match = re.match(r"(more than|at least|fewer than|at most) (\w+)", str(row["sentence2"]).lower())
        assert match
        assert row["label"] == (0 if holds[match[1]](actual, NUMBERS.index(match[2])) else 1), row


def test_roles_are_labelled_by_who_does_what() -> None:
    def event(clause: str) -> tuple[str, str]:
        words = [word for word in re.findall(r"\w+", clause) if word in (*TEST.names, "by")]
        return (words[2], words[0]) if "by" in words else (words[0], words[1])

    rows = [row for row in entailment_rows("test") if row["phenomenon"] == "roles"]
    for row in rows:
        same = event(str(row["sentence1"])) == event(str(row["sentence2"]))
        assert row["label"] == (0 if same else 1), row


def test_sentences_are_short_and_well_formed() -> None:
    for split in SPLIT_SIZES:
        for row in entailment_rows(split):
            for text in (str(row["sentence1"]), str(row["sentence2"])):
                assert re.fullmatch(r"[A-Z][A-Za-z, ]+\.", text), text
                assert len(text.split()) <= 14
                assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match='did you mean "test"'):
        entailment_rows("tset")
