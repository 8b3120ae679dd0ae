"""Which records may meet in a table or in a cell: those in which nothing that matters is known to differ."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

Key = tuple[Hashable, ...]

Record = Any
"""A record as a named tuple, with the columns of the long table."""

MODEL_KEY = ("model", "weights")

COMPARABILITY_KEY = {
    "run": (
        *(*MODEL_KEY, "task_version", "protocol", "template_version", "max_length"),
        *("train_examples", "eval_examples", "train_data", "eval_data"),
    ),
    "kernels": (*MODEL_KEY, "settings_hash", "protocol", "template_version", "eval_data"),
    "bench": ("task", "batch_size", "sequence_length", "precision", "peak_memory_kind", "hardware"),
}
"""The columns in which values have to agree to be compared, by source; for benches beside the model."""


def records_of(table: pd.DataFrame) -> list[Record]:
    """Each record of a long table once."""
    return list(table.drop_duplicates(["source", "id"]).itertuples(index=False))


def key_of(record: Record, columns: Iterable[str]) -> Key:
    return tuple(getattr(record, name) for name in columns)


def comparability_key(record: Record) -> Key:
    return key_of(record, COMPARABILITY_KEY[record.source])


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
