"""Which records may meet in a table or in a cell: those in which nothing that matters is known to differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rocoft_bench.analysis.naming import differing
from rocoft_bench.config import Settings, flatten
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs.identity import NOT_COMPARED
from rocoft_bench.untrusted import parse_yaml

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

Key = tuple[Hashable, ...]

Record = Any
"""A record as a named tuple, with the columns of the long table."""

MODEL_KEY = ("model", "weights")

COMPARABILITY_KEY = {
    "run": (
        *(*MODEL_KEY, "task_version", "protocol", "template_version"),
        *("train_examples", "eval_examples", "train_data", "eval_data"),
    ),
    "kernels": (*MODEL_KEY, "settings_hash", "protocol", "template_version", "eval_data"),
    "bench": ("task", "batch_size", "sequence_length", "precision", "peak_memory_kind", "hardware"),
}
"""The columns in which values have to agree to be compared, by source; for benches beside the model."""

SECTIONS = {"method": 0, "training": 1, "task": 2}
"""The order in which settings are named."""

NAMED_SETTINGS = 3


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


Variants = dict[str, list[Record]]
"""Records that may share a cell, one a seed, by what tells them from the others; "" for the only ones."""


def bench_variants(records: Sequence[Record]) -> Variants:
    """Of benches of one method, by their settings."""
    groups = group_compatible(records, lambda record: (record.settings_hash,))
    if len(groups) == 1:
        return {"": dedupe_by_seed(groups[0])}
    names = differing([json.loads(own[0].settings) for own in groups])
    return {name or own[0].settings_hash: dedupe_by_seed(own) for name, own in zip(names, groups, strict=True)}


def run_variants(records: Sequence[Record]) -> Variants:
    """Of runs of one method on one task, by their settings, and by what has to be equal for them to be compared."""
    settings = _settings_keys(records)
    groups = group_compatible(records, lambda run: (settings[run.settings_hash], *comparability_key(run)))
    names = _names([group[0] for group in groups]) if len(groups) > 1 else [""]
    return {name: dedupe_by_seed(group) for name, group in sorted(zip(names, groups, strict=True))}


def _settings_keys(records: Iterable[Record]) -> dict[str, str]:
    """By settings_hash what tells settings apart: where there are several, those of the config.yaml that count."""
    first = {record.settings_hash: record for record in records}
    if len(first) == 1:
        return dict.fromkeys(first, "")
    known = {name: _config(record) for name, record in first.items()}
    return {name: json.dumps(config, sort_keys=True) if config else name for name, config in known.items()}


def _names(records: Sequence[Record]) -> list[str]:
    """A name for each, by their settings, else by their data, else by what identifies their settings."""
    for facts in (_settings, _data):
        names = differing(list(map(facts, records)), NAMED_SETTINGS)
        if len(set(names)) == len(names):
            return names
    return [f"{record.settings_hash} {index}" for index, record in enumerate(records, 1)]


def _config(run: Record) -> dict[str, Any] | None:
    """The run's settings by dotted key; None without a config.yaml that can be read."""
    try:
        written = parse_yaml(run.config or "", run.id)
    except UserError:
        return None
    if not isinstance(written, dict):
        return None
    try:
        return resolve(Settings(written)).identity.compared
    except UserError:  # of another version, which this one would refuse
        return {key: value for key, value in flatten(written) if key not in NOT_COMPARED}


def _settings(run: Record) -> dict[str, Any]:
    """By dotted key, those of the method first; without a config.yaml the ones that are in the record."""
    settings = _config(run) or dict(flatten(json.loads(run.settings)))
    kept = {key: value for key, value in settings.items() if key not in NOT_COMPARED}
    return dict(sorted(kept.items(), key=lambda item: SECTIONS.get(item[0].partition(".")[0], len(SECTIONS))))


def _data(record: Record) -> dict[str, Any]:
    """What is known of data and weights, where settings alone do not tell cells apart."""
    return {
        "protocol": record.protocol,
        "task version": record.task_version,
        "template": record.template_version,
        "training rows": record.train_examples,
        "evaluated rows": record.eval_examples,
        "training data": str(record.train_data)[:8],
        "evaluation data": str(record.eval_data)[:8],
        "weights": str(record.weights)[:8],
    }
