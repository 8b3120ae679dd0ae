"""The embedded commonsense set: generated questions with four answers, in the form of LLM-Adapters' ARC files.

The questions are about the facts in `rocoft_bench.demo.world`, for example "which of these is a flower?" with the
answers "a saw", "a rose", "gold" and "a trout". A third of the facts is kept for the test, which therefore asks about
subjects of its own, partly in words of its own; each relation gives equally many rows.
"""

import random

from rocoft_bench.demo import generator_of
from rocoft_bench.demo.world import RELATIONS, Fact, Relation, held_out

SPLIT_SIZES = {"train": 2016, "test": 280}
"""Multiples of 28: seven relations, four places of the right answer."""
SEED = 22
OPTIONS = 4


def choice_rows(split: str) -> list[dict[str, str]]:
    """The rows of a split: instruction, input (empty), output, answer, relation. The same on every machine.

    The right answer is equally often at each place within each relation, and no row occurs twice.

    Raises: UserError if there is no such split.
    """
    rng = generator_of(split, SPLIT_SIZES, SEED, "choices")
    count = SPLIT_SIZES[split] // len(RELATIONS)
    rows = [row for name in RELATIONS for row in _relation_rows(name, split == "test", count, rng)]
    rng.shuffle(rows)
    return rows


def _relation_rows(name: str, test: bool, count: int, rng: random.Random) -> list[dict[str, str]]:
    relation = RELATIONS[name]
    facts = [fact for index, fact in enumerate(relation.facts) if held_out(index) == test]
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < count:
        place = len(rows) % OPTIONS
        question, right, wrong = _asked(relation, facts, test, rng)
        options = rng.sample(wrong, OPTIONS - 1)
        options.insert(place, right)
        row = _row(question, options, place)
        rows.setdefault(row["instruction"], {**row, "relation": name})
    return list(rows.values())


def _asked(relation: Relation, facts: list[Fact], test: bool, rng: random.Random) -> tuple[str, str, list[str]]:
    """A question, its answer, and what does not answer it."""
    a, b = rng.choice(facts)
    if rng.random() < 0.5:
        question = rng.choice(relation.asks_b if test else relation.asks_b[:-1])
        return question.format(a=a), b, sorted({other for _, other in facts} - {b})
    question = rng.choice(relation.asks_a if test else relation.asks_a[:-1])
    return question.format(b=b), a, sorted(other for other, value in facts if value != b)


def _row(question: str, options: list[str], place: int) -> dict[str, str]:
    listed = " ".join(f"Answer{number}: {option}" for number, option in enumerate(options, 1))
    allowed = "/".join(f"answer{number}" for number in range(1, len(options) + 1))
    text = f"Please choose the correct answer to the question: {question[0].upper()}{question[1:]}"
    answer = f"answer{place + 1}"
    return {
        "instruction": f"{text}\n\n{listed}\n\nAnswer format: {allowed}",
        "input": "",
        "output": f"the correct answer is {answer}",
        "answer": answer,
    }
