"""Which runs may stand in one table: within it, each task has one condition, that is, the same examples, read alike."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from rocoft_bench.analysis.groups import (
    COMPARABILITY_KEY,
    Key,
    Record,
    comparability_key,
    compatible,
    group_compatible,
    key_of,
)

EXAMPLES = ("train_examples", "eval_examples", "train_data", "eval_data")
"""What a task has in common in all of a table, whatever the model."""

WAYS = tuple(name for name in COMPARABILITY_KEY["run"] if name not in EXAMPLES)
"""What it has in common for each model of a table."""

TOLD = {
    "max_length": "max_length {}",
    "data_folder": "examples of {}",
    "task_version": "task version {}",
    "template_version": "template {}",
    "protocol": "{}",
    "weights": "weights {:.8}",
    "train_data": "training data {:.8}",
    "eval_data": "evaluation data {:.8}",
}
"""What is said of a table, beside its numbers of examples, if they do not tell it from the others, in this order."""

LONGEST_TOLD = 80


@dataclass
class SameExamples:
    """Runs that may stand in one table, and in what they differ from others that would belong there ("" if nothing).

    slots: the one condition that a task, or a task and a model, have.
    """

    runs: list[Record]
    slots: dict[tuple[str, ...], Key] = field(default_factory=dict)
    difference: str = ""

    def fits(self, other: SameExamples) -> bool:
        common = self.slots.keys() & other.slots.keys()
        return all(compatible(self.slots[slot], other.slots[slot]) for slot in common)

    def add(self, other: SameExamples) -> None:
        self.runs += other.runs
        for slot, theirs in other.slots.items():
            ours = self.slots.get(slot, theirs)
            self.slots[slot] = tuple(b if a is None else a for a, b in zip(ours, theirs, strict=True))


def by_examples(runs: Sequence[Record]) -> list[SameExamples]:
    """The runs of a table in as many as are needed for each task to have one condition; those with most examples first.

    Tasks whose conditions are most alike stay together, e.g. the first 100 examples of each; if that says nothing,
    those that the same methods were trained on; then those with the most similar numbers of training examples.
    """
    groups = group_compatible(runs, lambda run: (run.task, *comparability_key(run)))
    parts = [SameExamples(own, _slots(own[0])) for own in groups]
    pairs = combinations(range(len(parts)), 2)
    tables = list(range(len(parts)))
    for one, other in sorted(pairs, key=lambda pair: _likeness(*(groups[place] for place in pair)), reverse=True):
        first, second = sorted((tables[one], tables[other]))
        if first != second and parts[first].fits(parts[second]):
            parts[first].add(parts[second])
            tables = [first if place == second else place for place in tables]
    found = sorted((parts[place] for place in set(tables)), key=_order)
    for part, said in zip(found, _differences(found), strict=True):
        part.difference = said
    return found


def _slots(run: Record) -> dict[tuple[str, ...], Key]:
    return {(run.task,): key_of(run, EXAMPLES), (run.task, run.model): key_of(run, WAYS)}


def _likeness(ours: Sequence[Record], theirs: Sequence[Record]) -> tuple[int, float, float]:
    """How much two groups of runs have in common: conditions, methods, and how near their numbers of examples are."""
    one, other = ours[0], theirs[0]
    mine, yours = (json.loads(run.settings)["task"] for run in (one, other))
    same = [mine[key] == yours[key] for key in mine.keys() & yours.keys()]
    same += [a == b is not None for a, b in zip(comparability_key(one), comparability_key(other), strict=True)]
    labels, others = ({run.label for run in own} for own in (ours, theirs))
    shares = [math.log((run.train_examples or 0) + 1) for run in (one, other)]
    return sum(same), len(labels & others) / len(labels | others), -abs(shares[0] - shares[1])


def _order(part: SameExamples) -> tuple[int, int]:
    counts = [(run.train_examples or 0, run.eval_examples or 0) for run in part.runs]
    return (-max(trained for trained, _ in counts), -max(evaluated for _, evaluated in counts))


def _differences(parts: Sequence[SameExamples]) -> list[str]:
    """For each what its numbers of examples are, where they are not all, and what else tells it from the others."""
    told = [limits(part.runs) for part in parts]
    several = {slot for one, other in combinations(parts, 2) for slot in one.slots.keys() & other.slots.keys()}
    for name, words in TOLD.items():
        if len({*map(tuple, told)}) == len(parts):
            break
        values = [_values((run for run in part.runs if (run.task,) in several), name) for part in parts]
        if len({*map(tuple, values)}) > 1:
            told = [[*own, *(words.format(value) for value in some)] for own, some in zip(told, values, strict=True)]
    return [", ".join(own) for own in told]


def _values(runs: Iterable[Record], name: str) -> list[str]:
    """The values of a condition that are known, those that are short enough for a title."""
    found = dict.fromkeys(_value(run, name) for run in runs)
    return [str(value) for value in found if value is not None and len(str(value)) <= LONGEST_TOLD]


def _value(run: Record, name: str) -> Any:
    return json.loads(run.settings)["task"].get("data_dir") if name == "data_folder" else getattr(run, name)


def limits(runs: Sequence[Record]) -> list[str]:
    """To how many of the first examples runs were limited: "first 600 of 67,349 training examples"."""
    found = []
    for kind, words in (("train", "training"), ("eval", "evaluation")):
        limited = [run for run in runs if getattr(run, f"{kind}_limited")]
        counts = sorted({count for run in limited if (count := getattr(run, f"{kind}_examples")) is not None})
        totals = {getattr(run, f"{kind}_available") for run in limited}
        if counts:
            text = f"{counts[0]:,} to {counts[-1]:,}" if len(counts) > 1 else f"{counts[0]:,}"
            of_all = f" of {next(iter(totals)):,}" if len(counts) == len(totals) == 1 and None not in totals else ""
            found.append(f"first {text}{of_all} {words} examples")
    return found
