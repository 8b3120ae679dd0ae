"""Which records may meet in a table or in a cell: those in which nothing that matters is known to differ; and within a
table each task has one condition, that is, the same examples, read alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd

K = TypeVar("K")
T = TypeVar("T")

Key = tuple[Hashable, ...]

Record = Any
"""A record as a named tuple, with the columns of the long table."""

MODEL_KEY = ("model", "weights")

WAYS = (*MODEL_KEY, "task_version", "protocol", "template_version", "max_length")
"""What a task has in common for each model of a table."""

EXAMPLES = ("train_examples", "eval_examples", "train_data", "eval_data")
"""What it has in common in all of a table, whatever the model."""

COMPARABILITY_KEY = {
    "run": (*WAYS, *EXAMPLES),
    "kernels": (*MODEL_KEY, "settings_hash", "protocol", "template_version", "eval_data"),
    "bench": ("task", "batch_size", "sequence_length", "precision", "peak_memory_kind", "hardware"),
}
"""The columns in which values have to agree to be compared, by source; for benches beside the model."""

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


def records_of(table: pd.DataFrame) -> list[Record]:
    """Each record of a long table once."""
    return list(table.drop_duplicates(["source", "id"]).itertuples(index=False))


def key_of(record: Record, columns: Iterable[str]) -> Key:
    return tuple(getattr(record, name) for name in columns)


def comparability_key(record: Record) -> Key:
    return key_of(record, COMPARABILITY_KEY[record.source])


def grouped(pairs: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    """What goes with each key, in the order in which it comes."""
    groups: dict[K, list[T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def group_compatible(items: Iterable[T], key: Callable[[T], Key]) -> list[list[T]]:
    """Items in groups whose keys are compatible; those of which most is known begin."""
    groups: list[tuple[Key, list[T]]] = []
    for item in sorted(items, key=lambda item: key(item).count(None)):
        own = key(item)
        same = next((group for known, group in groups if compatible(known, own)), None)
        groups.append((own, [item])) if same is None else same.append(item)
    return [group for _, group in groups]


def compatible(one: Key, other: Key) -> bool:
    """Whether nothing that both know contradicts. None is what is not known, as of a failure."""
    return all(a == b for a, b in zip(one, other, strict=True) if a is not None and b is not None)


def dedupe_by_seed(records: Iterable[Record]) -> list[Record]:
    """One record for each seed: the latest of those that are ok, else the latest."""
    ordered = sorted(records, key=lambda record: (record.status == "ok", record.finished_at))
    chosen = {record.seed: record for record in ordered}
    return [chosen[seed] for seed in sorted(chosen)]


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
    most = ("train_examples", "eval_examples")
    found = sorted(
        (parts[place] for place in set(tables)),
        key=lambda part: [-max(getattr(run, name) or 0 for run in part.runs) for name in most],
    )
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
    own = [json.loads(r.settings)["task"].get("data_dir") if name == "data_folder" else getattr(r, name) for r in runs]
    return [str(value) for value in dict.fromkeys(own) if value is not None and len(str(value)) <= LONGEST_TOLD]


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
