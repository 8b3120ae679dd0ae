"""The embedded demo data: generated sentence pairs, the second of which follows from the first (label 0) or not (1).

Columns and labels are those of GLUE's RTE. Every pair turns on one phenomenon:

- negation: "Today the cook did not open the gate." / "The cook opened the gate." 1
- quantifiers: "All dogs slept in the park." / "Most dogs slept." 0
- numbers: "Seven boats burned." / "At least nine boats burned." 1
- roles: "Today Anna thanked Peter." / "Peter was thanked by Anna." 0
- hypernyms: "The pilot sold a car." / "The pilot sold a vehicle." 0
- temporal order: "Anna slept before Peter arrived." / "Anna slept after Peter arrived." 1
- conjunction: "The cook or the nurse washed the boat." / "The nurse washed the boat." 1

The test split has sentence frames, names, nouns and verbs of its own. As in real data, some words make one label more
likely ("not" in the second sentence, say), but no word decides it.
"""

import random
from collections.abc import Callable

from rocoft_bench.demo import generator_of
from rocoft_bench.demo.lexicon import NUMBERS, TEST, TRAIN, Lexicon

SPLIT_SIZES = {"train": 2520, "test": 700}
SEED = 20

Pair = tuple[str, str]

FOLLOWING_QUANTIFIERS = (
    *(("all", "some"), ("all", "most"), ("all", "many")),
    *(("most", "some"), ("many", "some"), ("no", "not all")),
)
OTHER_QUANTIFIERS = (
    *(("some", "all"), ("most", "all"), ("many", "all"), ("not all", "all"), ("some", "most")),
    *(("no", "some"), ("all", "no"), ("some", "no"), ("not all", "no")),
)


def entailment_rows(split: str) -> list[dict[str, object]]:
    """The rows of a split: sentence1, sentence2, label, phenomenon, idx. The same on every machine.

    Both labels are equally frequent within each phenomenon, and no pair occurs twice.

    Raises: UserError if there is no such split.
    """
    rng = generator_of(split, SPLIT_SIZES, SEED, "demo data")
    words = TEST if split == "test" else TRAIN
    count = SPLIT_SIZES[split] // len(PHENOMENA)
    rows = [row for name in PHENOMENA for row in _phenomenon_rows(name, words, count, rng)]
    rng.shuffle(rows)
    return [{**row, "idx": index} for index, row in enumerate(rows)]


def _phenomenon_rows(name: str, words: Lexicon, count: int, rng: random.Random) -> list[dict[str, object]]:
    pairs: dict[Pair, int] = {}
    while len(pairs) < count:
        label = len(pairs) % 2
        pairs.setdefault(PHENOMENA[name](words, rng, label == 0), label)
    return [{"sentence1": a, "sentence2": b, "label": label, "phenomenon": name} for (a, b), label in pairs.items()]


def _negation(words: Lexicon, rng: random.Random, follows: bool) -> Pair:
    person, thing = rng.choice(words.people), rng.choice(words.things)
    base, past = rng.choice(words.actions)
    positive = f"the {person} {past} the {thing}"
    negative = f"the {person} did not {base} the {thing}"
    first, second = (negative, positive) if rng.random() < 0.4 else (positive, negative)
    return _framed(words, rng, first), _sentence(first if follows else second)


def _quantifiers(words: Lexicon, rng: random.Random, follows: bool) -> Pair:
    noun, event = rng.choice(words.plurals), rng.choice(words.events)
    first, second = rng.choice(FOLLOWING_QUANTIFIERS if follows else OTHER_QUANTIFIERS)
    return _framed(words, rng, f"{first} {noun} {event}"), _sentence(f"{second} {noun} {event}")


def _numbers(words: Lexicon, rng: random.Random, follows: bool) -> Pair:
    noun, event = rng.choice(words.plurals), rng.choice(words.events)
    low, high = sorted(rng.sample(range(len(NUMBERS)), 2))
    grows = rng.random() < 0.5  # "at least" holds of the smaller number, "at most" of the larger one
    bound = rng.choice(("more than", "at least") if grows else ("fewer than", "at most"))
    actual, limit = (high, low) if grows == follows else (low, high)
    return (
        _framed(words, rng, f"{NUMBERS[actual]} {noun} {event}"),
        _sentence(f"{bound} {NUMBERS[limit]} {noun} {event}"),
    )


def _roles(words: Lexicon, rng: random.Random, follows: bool) -> Pair:
    a, b = rng.sample(words.names, 2)
    verb = rng.choice(words.treatments)
    doer, other = (a, b) if follows else (b, a)
    passive = rng.random() < 0.5
    second = f"{other} was {verb} by {doer}" if passive else f"{doer} {verb} {other}"
    return _framed(words, rng, f"{a} {verb} {b}"), _sentence(second)


def _hypernyms(words: Lexicon, rng: random.Random, follows: bool) -> Pair:
    person, verb = rng.choice(words.people), rng.choice(words.handlings)
    (general, members), (_, others) = rng.sample(words.kinds, 2)
    special = rng.choice(members)
    unrelated = (special, rng.choice(others))
    wrong = (general, special) if rng.random() < 0.5 else unrelated
    first, second = (special, general) if follows else wrong
    clauses = [f"the {person} {verb} {_article(noun)} {noun}" for noun in (first, second)]
    return _framed(words, rng, clauses[0]), _sentence(clauses[1])


def _temporal(words: Lexicon, rng: random.Random, follows: bool) -> Pair:
    a, b = (
        f"{name} {event}" for name, event in zip(rng.sample(words.names, 2), rng.sample(words.events, 2), strict=True)
    )
    first, second = rng.sample(("before", "after"), 2)
    turned = rng.random() < 0.5
    if follows:
        hypothesis = f"{b} {second} {a}" if turned else f"{a} {first} {b}"
    else:
        hypothesis = f"{b} {first} {a}" if turned else f"{a} {second} {b}"
    return _framed(words, rng, f"{a} {first} {b}"), _sentence(hypothesis)


def _conjunction(words: Lexicon, rng: random.Random, follows: bool) -> Pair:
    a, b = rng.sample(words.people, 2)
    clause = f"{rng.choice(words.actions)[1]} the {rng.choice(words.things)}"
    word = "and" if follows else "or"
    return _framed(words, rng, f"the {a} {word} the {b} {clause}"), _sentence(f"the {rng.choice((a, b))} {clause}")


PHENOMENA: dict[str, Callable[[Lexicon, random.Random, bool], Pair]] = {
    "negation": _negation,
    "quantifiers": _quantifiers,
    "numbers": _numbers,
    "roles": _roles,
    "hypernyms": _hypernyms,
    "temporal": _temporal,
    "conjunction": _conjunction,
}


def _framed(words: Lexicon, rng: random.Random, clause: str) -> str:
    text = rng.choice(words.frames).format(clause=clause, place=rng.choice(words.places))
    return text[0].upper() + text[1:]


def _sentence(clause: str) -> str:
    return f"{clause[0].upper()}{clause[1:]}."


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"
