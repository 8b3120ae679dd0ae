from __future__ import annotations

import hashlib
import json
import re
from collections import Counter

import pytest

from rocoft_bench.demo.choices import SPLIT_SIZES, choice_rows
from rocoft_bench.demo.world import RELATIONS, Relation, held_out
from rocoft_bench.errors import UserError

FORM = re.compile(
    r"Please choose the correct answer to the question: (.+\?)\n\n"
    r"Answer1: (.+) Answer2: (.+) Answer3: (.+) Answer4: (.+)\n\n"
    r"Answer format: answer1/answer2/answer3/answer4"
)


def parsed(row: dict[str, str]) -> tuple[str, list[str]]:
    match = FORM.fullmatch(row["instruction"])
    assert match, row
    question, *options = match.groups()
    return question[0].lower() + question[1:], options


def answers(relation: Relation, question: str) -> set[str]:
    """All that answers the question in the world, and is no special case of the template."""
    right = {b for a, b in relation.facts for asked in relation.asks_b if asked.format(a=a) == question}
    return right | {a for a, b in relation.facts for asked in relation.asks_a if asked.format(b=b) == question}


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_exactly_one_option_is_right_and_the_answer_names_it(split: str) -> None:
    for row in choice_rows(split):
        question, options = parsed(row)
        right = answers(RELATIONS[row["relation"]], question)
        assert right, row
        places = [number for number, option in enumerate(options, 1) if option in right]
        assert [f"answer{number}" for number in places] == [row["answer"]], row
        assert row["output"] == f"the correct answer is {row['answer']}"
        assert row["input"] == ""
        assert len(set(options)) == 4


@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_places_are_balanced_within_each_relation_and_rows_are_unique(split: str) -> None:
    rows = choice_rows(split)
    each = SPLIT_SIZES[split] // len(RELATIONS) // 4
    counts = Counter((row["relation"], row["answer"]) for row in rows)
    assert counts == {(name, f"answer{place}"): each for name in RELATIONS for place in (1, 2, 3, 4)}
    assert len({row["instruction"] for row in rows}) == len(rows) == SPLIT_SIZES[split]


def test_the_rows_are_the_same_everywhere() -> None:
    hashes = {s: hashlib.sha256(json.dumps(choice_rows(s)).encode()).hexdigest()[:16] for s in SPLIT_SIZES}
    assert hashes == {"train": "4cd5078d371370f3", "test": "ab8978402859788d"}


def test_the_test_split_asks_about_subjects_of_its_own() -> None:
    for name, relation in RELATIONS.items():
        texts = [" ".join(row["instruction"] for row in choice_rows(s) if row["relation"] == name) for s in SPLIT_SIZES]
        for index, (subject, _) in enumerate(relation.facts):
            word = re.compile(rf"\b{re.escape(subject)}\b")
            assert not word.search(texts[0] if held_out(index) else texts[1]), (name, subject)


def test_the_last_wording_of_each_question_is_for_the_test_only() -> None:
    train, test = (" ".join(row["instruction"].lower() for row in choice_rows(split)) for split in SPLIT_SIZES)
    for relation in RELATIONS.values():
        for wording in (relation.asks_a[-1], relation.asks_b[-1]):
            start = wording.split("{")[0]
            assert start in test
            assert f": {start}" not in train


def test_subjects_occur_once_in_a_relation() -> None:
    for name, relation in RELATIONS.items():
        assert len({a for a, _ in relation.facts}) == len(relation.facts), name


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(UserError, match='did you mean "test"'):
        choice_rows("tset")
