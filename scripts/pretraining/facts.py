"""Made-up facts told in several ways: the text that the masked and the denoising model learn from.

A fact has a statement in full and partial ones, all true of the same values, so that a hidden value can be found in
another sentence. The words are those of the embedded tasks, and more names; no person of the tasks occurs, since first
names of one split go with surnames of the other or with neither's, and there are no questions and no summaries.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rocoft_bench.demo.questions import VERBS as TASK_VERBS
from rocoft_bench.demo.words import DAYS, MONTHS, NUMBERS, TEST, TRAIN, YEARS, slots

NAMES = ("Adam", "Bella", "Carol", "Daniel", "Eva", "Fred", "Gina", "Harry", "Ida", "Jack", "Kate", "Louis")
SURNAMES = ("Adler", "Baxter", "Curtis", "Draper", "Emery", "Fuller", "Gibbs", "Hooper", "Irving", "Judd", "Knox")

POOLS = {
    "town": (*TRAIN.towns, *TEST.towns),
    "place": (*TRAIN.places, *TEST.places),
    "thing": (*TRAIN.things, *TEST.things),
    "job": (*TRAIN.jobs, *TEST.jobs),
    "plural": (*TRAIN.plurals, *TEST.plurals),
    "number": NUMBERS,
    "month": MONTHS,
    "day": DAYS,
    "year": YEARS,
}
VERBS = (*TASK_VERBS, ("break", "broke"), ("copy", "copied"), ("hide", "hid"), ("keep", "kept"))


@dataclass(frozen=True)
class Telling:
    """Ways to tell one kind of fact. Each begins in lower case or with a slot, and has no full stop."""

    full: tuple[str, ...]
    partial: tuple[str, ...]


TELLINGS = (
    Telling(
        full=(
            "{person} {past} the {thing} in {month}",
            "in {month} {person} {past} the {thing}",
            "in {month} the {thing} was {past} by {person}",
            "the {thing} was {past} in {month}, and it was {person} who did it",
            "it was {person} who {past} the {thing}, and that was in {month}",
        ),
        partial=(
            "the one who {past} the {thing} was {person}",
            "who {past} the {thing} is known, it was {person}",
            "the {thing} was {past} by {person}",
            "by whom the {thing} was {past} is known, it was {person}",
            "in which month {person} {past} the {thing} is known, it was {month}",
            "what {person} {past} was the {thing}",
            "what {person} did {base} is known, it was the {thing}",
            "when {person} did {base} the {thing}, it was {month}",
            "the month when the {thing} was {past} was {month}",
            "when {person} {past} the {thing}, it was {month}",
        ),
    ),
    Telling(
        full=(
            "{person} was born in {town} in {year}",
            "in {year} {person} was born in {town}",
            "the birth of {person} was in {year} in {town}",
            "{town} is where {person} was born in {year}",
        ),
        partial=(
            "the town where {person} was born is {town}",
            "in which town {person} was born is known, it was {town}",
            "in which year {person} was born is known, it was {year}",
            "where {person} was born is known, it was {town}",
            "the one who was born in {town} is {person}",
            "when {person} was born, it was {year}",
            "the year when {person} was born is {year}",
        ),
    ),
    Telling(
        full=(
            "{person} worked as a {job} in {town}",
            "in {town} {person} found work as a {job}",
            "as a {job} {person} went to work in {town}",
            "the work of a {job} in {town} was done by {person}",
        ),
        partial=(
            "the town where {person} worked was {town}",
            "in which town {person} found work is known, it was {town}",
            "what {person} worked as is known, it was a {job}",
            "the one who worked as a {job} was {person}",
            "{person} was a {job}",
            "who worked in {town} is known, it was {person}",
        ),
    ),
    Telling(
        full=(
            "{number} {plural} were seen in {town} on {day}",
            "on {day} {number} {plural} were seen in {town}",
            "in {town} people saw {number} {plural} on {day}",
            "{number} {plural} came to {town}, that was on {day}",
        ),
        partial=(
            "how many {plural} were seen is known, there were {number}",
            "the {plural} were {number}",
            "on which day the {plural} were seen is known, it was {day}",
            "in which town people saw the {plural} is known, it was {town}",
            "where the {plural} were seen, it was {town}",
            "the day when the {plural} were seen was {day}",
            "what was seen in {town} were {plural}",
        ),
    ),
    Telling(
        full=(
            "{person} met {other} at the {place} on {day}",
            "on {day} {person} met {other} at the {place}",
            "on {day} at the {place} {person} met {other}",
            "it was at the {place} that {person} met {other} on {day}",
        ),
        partial=(
            "the one whom {person} met was {other}",
            "whom {person} did meet is known, it was {other}",
            "on which day {person} met {other} is known, it was {day}",
            "whom {person} met at the {place} is known, it was {other}",
            "the one who met {other} was {person}",
            "where {person} met {other}, it was the {place}",
            "when {person} met {other}, it was {day}",
        ),
    ),
    Telling(
        full=(
            "{person} sold the {thing} to {other} for {number} coins",
            "to {other} {person} sold the {thing} for {number} coins",
            "for {number} coins {person} sold the {thing} to {other}",
            "{other} got the {thing} from {person} for {number} coins",
        ),
        partial=(
            "the one who sold the {thing} was {person}",
            "to whom {person} sold the {thing} is known, it was {other}",
            "the one who got the {thing} was {other}",
            "how many coins the {thing} cost is known, it cost {number}",
            "what {person} sold was the {thing}",
            "what {person} did sell to {other} was the {thing}",
            "by whom the {thing} was sold is known, it was {person}",
            "for how many coins {person} sold the {thing} is known, it cost {number}",
            "{number} coins were paid for the {thing}",
        ),
    ),
    Telling(
        full=(
            "{person} went from {town} to the {place} on {day}",
            "on {day} {person} left {town} and went to the {place}",
            "the {place} was where {person} went on {day}, after leaving {town}",
        ),
        partial=(
            "the one who left {town} was {person}",
            "where {person} went was the {place}",
            "the day when {person} left {town} was {day}",
            "on which day {person} left {town} is known, it was {day}",
        ),
    ),
    Telling(
        full=(
            "{person} lost the {thing} and {number} {plural} in {month}",
            "in {month} {number} {plural} and the {thing} were lost by {person}",
        ),
        partial=(
            "what {person} lost was the {thing}",
            "how many {plural} {person} lost is known, there were {number}",
            "the one who lost the {plural} was {person}",
            "the month when {person} lost the {thing} was {month}",
            "in which month {person} lost the {thing} is known, it was {month}",
        ),
    ),
)


def facts(rng: random.Random, count: int) -> Iterator[tuple[Telling, dict[str, str]]]:
    """`count` facts, at most 7, that differ in every value, but for people of whom several are told."""
    pools = {slot: rng.sample(words, count) for slot, words in POOLS.items()}
    full_names = people(rng, 2 * count)
    mains, pools["other"] = full_names[:count], full_names[count:]
    told: set[tuple[str, Telling]] = set()
    for _ in range(count):
        telling = rng.choice(TELLINGS)
        person = rng.choice([main for main in mains if (main, telling) not in told])
        told.add((person, telling))
        values = {slot: pool.pop() for slot, pool in pools.items() if slot in slots(telling.full[0])}
        base, past = rng.choice(VERBS)
        yield telling, {**values, "person": person, "base": base, "past": past}


def capitalised(template: str, values: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """A telling and its values as a sentence has them: with a capital first letter and a full stop."""
    if template.startswith("{"):
        slot = template[1 : template.index("}")]
        values = {**values, slot: values[slot][0].upper() + values[slot][1:]}
    return f"{template[0].upper()}{template[1:]}.", dict(values)


def people(rng: random.Random, count: int) -> list[str]:
    """Full names, none of which can occur in a task."""
    firsts = rng.sample((*NAMES, *TRAIN.names, *TEST.names), count)
    names = []
    for first in firsts:
        other = TRAIN.surnames if first in TEST.names else TEST.surnames
        names.append(f"{first} {rng.choice((*SURNAMES, *other))}")
    return names
