"""The embedded questions: a short made-up passage, and a question that a piece of it answers. Columns as in SQuAD.

A passage has 5 to 8 sentences, each one fact. Often there are two facts of a kind, and facts of different kinds share
sorts of values (people, towns, things, days, numbers), so that the right answer is seldom the only piece of its sort;
many people take part in two facts:

    context   "Anna Berg was born in Selby in 1871. Paul Dale worked as a nurse in Elton. In May Paul Dale repaired the
              clock. Lucy Hill worked as a cook in Upton. ..."
    question  "Where did Paul Dale work?"
    answers   {"text": ["Elton"], "answer_start": [68]}

The test split has names, towns, places, things and jobs of its own, and sentences and questions in words of their own
beside the common ones.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from rocoft_bench.demo import generator_of
from rocoft_bench.demo.words import DAYS, MONTHS, NUMBERS, WORDS, YEARS, Words, fill, slots

SPLIT_SIZES = {"train": 2000, "test": 300}
SEED = 21


@dataclass(frozen=True)
class Kind:
    """What can be told and asked about one kind of fact. Slots: the fields of `_slot_values`."""

    frames: tuple[str, ...]
    """Sentences, each with all slots."""
    test_frames: tuple[str, ...]
    """Sentences that only test passages have, beside `frames`."""
    questions: tuple[tuple[str, str], ...]
    """The slot that answers, and the question."""
    test_questions: tuple[tuple[str, str], ...]


KINDS = (
    Kind(
        frames=("{person} {past} the {thing} in {month}.", "In {month} the {thing} was {past} by {person}."),
        test_frames=("It was {person} who {past} the {thing} in {month}.",),
        questions=(
            ("person", "Who {past} the {thing}?"),
            ("thing", "What did {person} {base}?"),
            ("month", "When was the {thing} {past}?"),
            ("month", "In which month was the {thing} {past}?"),
        ),
        test_questions=(
            ("person", "By whom was the {thing} {past}?"),
            ("month", "In which month did {person} {base} the {thing}?"),
        ),
    ),
    Kind(
        frames=("{person} was born in {town} in {year}.", "In {year} {person} was born in {town}."),
        test_frames=("The birth of {person} in {town} was in {year}.",),
        questions=(
            ("town", "Where was {person} born?"),
            ("year", "When was {person} born?"),
            ("person", "Who was born in {town}?"),
            ("town", "In which town was {person} born?"),
        ),
        test_questions=(("town", "In what town was {person} born?"), ("year", "In which year was {person} born?")),
    ),
    Kind(
        frames=("{person} worked as a {job} in {town}.", "In {town} {person} found work as a {job}."),
        test_frames=("As a {job} in {town} worked {person}.",),
        questions=(
            ("town", "Where did {person} work?"),
            ("job", "What did {person} work as?"),
            ("person", "Who worked as a {job}?"),
        ),
        test_questions=(("town", "In which town did {person} work?"), ("person", "Who worked in {town}?")),
    ),
    Kind(
        frames=("{Number} {plural} were seen in {town} on {day}.", "On {day} {number} {plural} were seen in {town}."),
        test_frames=("In {town} people saw {number} {plural} on {day}.",),
        questions=(
            ("number", "How many {plural} were seen?"),
            ("town", "Where were the {plural} seen?"),
            ("day", "When were the {plural} seen?"),
            ("day", "On which day were the {plural} seen?"),
        ),
        test_questions=(("town", "In which town were the {plural} seen?"), ("plural", "What was seen in {town}?")),
    ),
    Kind(
        frames=("{person} met {other} at the {place} on {day}.", "On {day} {person} met {other} at the {place}."),
        test_frames=("At the {place} {person} met {other} on {day}.",),
        questions=(
            ("other", "Whom did {person} meet?"),
            ("place", "Where did {person} meet {other}?"),
            ("day", "When did {person} meet {other}?"),
            ("person", "Who met {other}?"),
        ),
        test_questions=(
            ("day", "On which day did {person} meet {other}?"),
            ("other", "Whom did {person} meet at the {place}?"),
        ),
    ),
    Kind(
        frames=("{person} sold the {thing} to {other} for {number} coins.",),
        test_frames=("For {number} coins {person} sold the {thing} to {other}.",),
        questions=(
            ("person", "Who sold the {thing}?"),
            ("person", "By whom was the {thing} sold?"),
            ("other", "Who got the {thing}?"),
            ("number", "How many coins did the {thing} cost?"),
            ("thing", "What did {person} sell?"),
        ),
        test_questions=(
            ("other", "To whom did {person} sell the {thing}?"),
            ("number", "For how many coins was the {thing} sold?"),
        ),
    ),
)

VERBS = (
    *(("build", "built"), ("repair", "repaired"), ("paint", "painted"), ("clean", "cleaned")),
    *(("find", "found"), ("draw", "drew"), ("visit", "visited"), ("move", "moved")),
)


def question_rows(split: str) -> list[dict[str, object]]:
    """The rows of a split: id, title, context, question, answers (text, answer_start). The same on every machine.

    Each passage has one question. No passage occurs twice.

    Raises: UserError if there is no such split.
    """
    rng = generator_of(split, SPLIT_SIZES, SEED, "demo data")
    rows: dict[str, dict[str, object]] = {}
    while len(rows) < SPLIT_SIZES[split]:
        row = _row(WORDS[split], rng, held_out=split == "test")
        rows.setdefault(str(row["context"]), {"id": f"{split}-{len(rows)}", **row})
    return list(rows.values())


def _row(words: Words, rng: random.Random, held_out: bool) -> dict[str, object]:
    facts = list(_facts(words, rng, rng.randint(5, 8)))
    asked = rng.randrange(len(facts))
    sentences: list[str] = []
    starts: dict[str, int] = {}
    for index, (kind, values) in enumerate(facts):
        frames = kind.test_frames if held_out and rng.random() < 0.3 else kind.frames
        sentence, found = fill(rng.choice(frames), values)
        if index == asked:
            offset = sum(len(earlier) + 1 for earlier in sentences)
            starts = {slot: offset + start for slot, start in found.items()}
        sentences.append(sentence)
    context = " ".join(sentences)
    kind, values = facts[asked]
    slot, question = rng.choice(kind.test_questions if held_out and rng.random() < 0.15 else kind.questions)
    slot = "Number" if "Number" in starts and slot == "number" else slot
    return {
        "title": "Facts",
        "context": context,
        "question": fill(question, values)[0],
        "answers": {"text": [values[slot]], "answer_start": [starts[slot]]},
    }


def _facts(words: Words, rng: random.Random, count: int) -> Iterator[tuple[Kind, dict[str, str]]]:
    """Facts, at most two of each kind, that differ in every value.

    Only a person can take part in several, which are of different kinds.
    """
    pools = {
        "town": rng.sample(words.towns, count),
        "place": rng.sample(words.places, 2),
        "thing": rng.sample(words.things, count),
        "job": rng.sample(words.jobs, 2),
        "plural": rng.sample(words.plurals, 2),
        "number": rng.sample(NUMBERS, 4),
        "month": rng.sample(MONTHS, 2),
        "day": rng.sample(DAYS, 4),
        "year": rng.sample(YEARS, 2),
    }
    pairs = zip(rng.sample(words.names, 9), rng.sample(words.surnames, 9), strict=True)
    people = [f"{name} {surname}" for name, surname in pairs]
    mains, pools["other"] = people[:5], people[5:]
    known: set[tuple[str, Kind]] = set()
    for kind in rng.sample(KINDS * 2, count):
        person = rng.choice([main for main in mains if (main, kind) not in known])
        known.add((person, kind))
        values = {slot: pool.pop() for slot, pool in pools.items() if slot in slots(kind.frames[-1])}
        base, past = rng.choice(VERBS)
        yield kind, {**values, "person": person, "base": base, "past": past, "Number": values.get("number", "").title()}
