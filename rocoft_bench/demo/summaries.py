"""The embedded summaries: a short made-up report and what it says in one sentence. Columns as in XSum.

A report has 5 to 8 sentences. Three of them hold the facts of the summary, in other words than the summary's; the rest
are about other people, towns and numbers:

    document  "It had rained for nine days. Smoke was seen over Selby on Friday. Paul Dale said that nobody had expected
              it. The flames destroyed the theatre. Forty people had to leave their homes. ..."
    summary   "A fire in Selby has destroyed the theatre and driven forty people from their homes."

The test split has names, towns, places, things and jobs of its own, and sentences of its own beside the common ones.
"""

import random
from dataclasses import dataclass

from rocoft_bench.demo import generator_of
from rocoft_bench.demo.words import DAYS, NUMBERS, WORDS, Words, fill, slots

SPLIT_SIZES = {"train": 2000, "test": 200}
SEED = 22


@dataclass(frozen=True)
class Story:
    """One kind of report. Slots: those of `_values`; a capital first letter asks for one."""

    summary: str
    sentences: tuple[tuple[str, ...], ...]
    """For each of three facts, in order, the ways to tell it. Together they have all slots of the summary."""
    test_sentences: tuple[str, ...]
    """Another way for each fact, which only test reports have."""


STORIES = (
    Story(
        "A fire in {town} has destroyed the {place} and driven {number} people from their homes.",
        (
            ("Smoke was seen over {town} on {day}.", "On {day} something began to burn in {town}."),
            ("The flames destroyed the {place}.", "By noon nothing was left of the {place}."),
            ("{Number} people had to leave their homes.", "The homes of {number} people were not safe."),
        ),
        (
            "It was {day} when {town} saw the first flames.",
            "The {place} burned to the ground.",
            "Homes were lost by {number} people.",
        ),
    ),
    Story(
        "{person}, a {job} from {town}, has saved {number} people from a flood.",
        (
            ("The river rose over its banks at {town}.", "After the rain the water stood high in {town}."),
            ("The {job} {person} went out in a boat.", "{person}, who is a {job}, took a boat at once."),
            ("{Number} people were brought to dry land.", "In the end {number} people were safe."),
        ),
        (
            "At {town} the water came up to the windows.",
            "A {job} with the name of {person} found a boat.",
            "The boat carried {number} people out of the water.",
        ),
    ),
    Story(
        "{person} from {town} has won a prize of {number} coins for a {thing}.",
        (
            ("{person} lives in {town}.", "In {town} everybody knows {person}."),
            ("Nobody had ever seen such a {thing}.", "The judges liked the {thing} best."),
            ("{Number} coins go to the winner.", "The winner takes home {number} coins."),
        ),
        (
            "The home of {person} is in {town}.",
            "It was the {thing} that pleased the judges.",
            "The prize is worth {number} coins.",
        ),
    ),
    Story(
        "{person} has opened a new {place} in {town} after {number} months of work.",
        (
            ("At last {town} has what it had asked for.", "There was music in {town} on {day}."),
            ("{person} cut a red ribbon in front of the {place}.", "The doors of the {place} were opened by {person}."),
            ("The builders had needed {number} months.", "The work had taken {number} months."),
        ),
        (
            "A long wait came to its end in {town}.",
            "It was {person} who turned the key of the {place}.",
            "For {number} months there had been building.",
        ),
    ),
    Story(
        "Thieves have stolen {number} {plural} from the {place} in {town}.",
        (
            ("The police of {town} were called on {day}.", "On {day} there was no peace in {town}."),
            ("Somebody had broken into the {place}.", "The door of the {place} was found open."),
            ("{Number} {plural} were gone.", "It turned out that {number} {plural} were missing."),
        ),
        (
            "The night to {day} was short for the police of {town}.",
            "A window of the {place} had been broken.",
            "There was no trace of {number} {plural}.",
        ),
    ),
    Story(
        "{Number} workers of the {place} in {town} have stopped work because of low pay.",
        (
            ("The streets of {town} were full on {day}.", "On {day} there were loud voices in {town}."),
            ("Nobody was at work at the {place}.", "The {place} stood still for a whole day."),
            ("{Number} workers asked for more money.", "More money was what {number} workers wanted."),
        ),
        (
            "Songs were heard in the streets of {town} on {day}.",
            "At the {place} all was quiet.",
            "Too little money, said {number} workers.",
        ),
    ),
    Story(
        "The town of {town} has sold its {place} to {person} for {number} coins.",
        (
            ("The mayor of {town} signed a paper on {day}.", "On {day} the mayor of {town} made it known."),
            ("The {place} now belongs to {person}.", "{person} is the new owner of the {place}."),
            ("{Number} coins were paid.", "The price was {number} coins."),
        ),
        (
            "A paper was signed by the mayor of {town} on {day}.",
            "The keys of the {place} are in the hands of {person}.",
            "It cost {number} coins.",
        ),
    ),
    Story(
        "A {job} who was lost near {town} for {number} days has been found by {person}.",
        (
            ("The woods near {town} are deep and dark.", "Not far from {town} the snow lay high."),
            ("A {job} had not come home.", "All were looking for a {job}."),
            ("{Number} days later {person} heard a cry.", "After {number} days {person} saw a light."),
        ),
        (
            "The hills around {town} are full of caves.",
            "The family of a {job} had called for help.",
            "It took {number} days until {person} saw a hat in the grass.",
        ),
    ),
)

NOISE = (
    "It had rained for {number2} days.",
    "{other} from {town2} said that nobody had expected it.",
    "Many people came to look.",
    "{Number2} guests stayed at the {place2}.",
    "{other} told us about it.",
    "A meeting will be held at the {place2}.",
    "The road to {town2} was closed for {number2} hours.",
    "Nobody in {town2} wanted to speak to us.",
    "Last year the same had happened in {town2}.",
    "{other} hopes for better days.",
)
TEST_NOISE = (
    "In {town2} they will talk about it for a long time.",
    "{other} waited at the {place2} for {number2} hours.",
    "The newspaper of {town2} wrote about it.",
)


def summary_rows(split: str) -> list[dict[str, object]]:
    """The rows of a split: document, summary, id. The same on every machine, and no report twice.

    Raises: UserError if there is no such split.
    """
    rng = generator_of(split, SPLIT_SIZES, SEED, "demo data")
    rows: dict[str, dict[str, object]] = {}
    while len(rows) < SPLIT_SIZES[split]:
        document, summary = _pair(WORDS[split], rng, held_out=split == "test")
        rows.setdefault(document, {"document": document, "summary": summary, "id": f"{split}-{len(rows)}"})
    return list(rows.values())


def _pair(words: Words, rng: random.Random, held_out: bool) -> tuple[str, str]:
    story, values = rng.choice(STORIES), _values(words, rng)
    told = [
        own if held_out and rng.random() < 0.5 else rng.choice(common)
        for common, own in zip(story.sentences, story.test_sentences, strict=True)
    ]
    for noise in _noise(rng, rng.randint(2, 5), held_out):
        told.insert(rng.randint(0, len(told)), noise)
    return " ".join(fill(sentence, values)[0] for sentence in told), fill(story.summary, values)[0]


def _noise(rng: random.Random, count: int, held_out: bool) -> list[str]:
    """Sentences of which no two share a slot, so that each name and number is told once."""
    chosen: list[str] = []
    used: set[str] = set()
    for sentence in rng.sample(NOISE + TEST_NOISE * held_out, len(NOISE + TEST_NOISE * held_out)):
        names = {name.lower() for name in slots(sentence)}
        if len(chosen) < count and not names & used:
            chosen.append(sentence)
            used |= names
    return chosen


def _values(words: Words, rng: random.Random) -> dict[str, str]:
    people = zip(rng.sample(words.names, 2), rng.sample(words.surnames, 2), strict=True)
    person, other = (f"{name} {surname}" for name, surname in people)
    (town, town2), (place, place2) = rng.sample(words.towns, 2), rng.sample(words.places, 2)
    number, number2 = rng.sample(NUMBERS, 2)
    return {
        **{"person": person, "other": other, "town": town, "town2": town2, "place": place, "place2": place2},
        **{"number": number, "number2": number2, "Number": number.title(), "Number2": number2.title()},
        **{"job": rng.choice(words.jobs), "thing": rng.choice(words.things), "plural": rng.choice(words.plurals)},
        "day": rng.choice(DAYS),
    }
