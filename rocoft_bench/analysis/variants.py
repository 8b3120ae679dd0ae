"""Rows of one method: which of its records share one, by their settings, and what tells it from the others in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from rocoft_bench import methods, models, tasks
from rocoft_bench.analysis.groups import Record, comparability_key, dedupe_by_seed, group_compatible, grouped
from rocoft_bench.analysis.naming import join_unique, named
from rocoft_bench.config import ModelConfig, Settings, defaults_of, flatten
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs.identity import NOT_COMPARED
from rocoft_bench.untrusted import parse_yaml

Variants = dict[str, list[Record]]
"""Records that may share a cell, one a seed, by what tells them from the others; "" for the only ones."""

SECTIONS = {"method": 0, "training": 1, "task": 2}
"""The order in which settings are named."""

NAMED_SETTINGS = 3
"""So many of them beside the method's own, if those tell all rows apart; the others are counted."""

ALL_LINEAR = "all linear"
"""Said of the layers that are tuned where they are all linear ones of the blocks."""


def bench_variants(records: Sequence[Record]) -> Variants:
    """Of benches of one method, by their settings."""
    groups = group_compatible(records, lambda record: (record.settings_hash,))
    return {name: dedupe_by_seed(own) for name, own in sorted(zip(_names(groups), groups, strict=True))}


def run_variants(records: Sequence[Record]) -> Variants:
    """Of runs of one method on one task, by their settings, and by what has to be equal for them to be compared."""
    return variants_by_task({"": records})[""]


def variants_by_task(by_task: Mapping[str, Sequence[Record]]) -> dict[str, Variants]:
    """The same of each task that a method was trained on. Settings may be other ones on each, as in the paper's Table
    10; but what has the very same on two tasks has one name.
    """
    groups = {task: _groups(records) for task, records in by_task.items()}
    names = {task: _names(own) for task, own in groups.items()}
    if len(groups) > 1 and any(len(own) > 1 for own in groups.values()):
        names = _shared(groups, names)
    return {
        task: {name: dedupe_by_seed(group) for name, group in sorted(zip(names[task], own, strict=True))}
        for task, own in groups.items()
    }


def _groups(records: Sequence[Record]) -> list[list[Record]]:
    settings = _settings_keys(records)
    return group_compatible(records, lambda run: (settings[run.settings_hash], *comparability_key(run)))


def _settings_keys(records: Iterable[Record]) -> dict[str, str]:
    """By settings_hash what tells settings apart: where there are several, those of the config.yaml that count."""
    first = {record.settings_hash: record for record in records}
    if len(first) == 1:
        return dict.fromkeys(first, "")
    known = {name: _config(record.config, record.id) for name, record in first.items()}
    return {name: json.dumps(config, sort_keys=True) if config else name for name, config in known.items()}


def _shared(groups: Mapping[str, list[list[Record]]], names: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The names, the longest for each of the groups that have the same settings on several tasks."""

    def trained(record: Record) -> str:
        return json.dumps({key: value for key, value in _settings(record).items() if not key.startswith("task.")})

    settings = {task: [trained(group[0]) for group in own] for task, own in groups.items()}
    known = grouped(pair for task, own in settings.items() for pair in zip(own, names[task], strict=True))
    found = {task: [max(known[key], key=len) for key in own] for task, own in settings.items()}
    return {task: own if len(set(own)) == len(own) else names[task] for task, own in found.items()}


def _names(groups: Sequence[Sequence[Record]]) -> list[str]:
    """A name for each, by their settings, else by their data too, else by what identifies their settings."""
    if len(groups) == 1:
        return [""]
    records = [group[0] for group in groups]
    settings, defaults = list(map(_settings, records)), _defaults(records[0])
    with_data = [{**own, **_data(record)} for own, record in zip(settings, records, strict=True)]
    for facts in (settings, with_data):
        names = tell_apart(facts, defaults)
        if len(set(names)) == len(names):
            return names
    hashes = [f"settings {record.settings_hash}" for record in records]
    if len(set(hashes)) < len(hashes):
        hashes = [f"{name} ({index})" for index, name in enumerate(hashes, 1)]
    return [join_unique(own) for own in zip(names, hashes, strict=True)]


def tell_apart(facts: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any]) -> list[str]:
    """For each of some settings what is not the same in all, e.g. "selection=random, epochs=1", in the order given.

    Left out is what is usual: the default, or where that is not known what more than half of them have; and of more
    than `NAMED_SETTINGS` beside the method's own those that most have in common, which are counted, unless all are
    needed.
    """
    texts = [{key: _text(value) for key, value in own.items()} for own in facts]
    keys = dict.fromkeys(key for own in texts for key in own)
    values = {key: Counter(own.get(key, "null") for own in texts) for key in keys}
    usual = {key: _usual(found, key, defaults) for key, found in values.items() if len(found) > 1}
    told = [[key for key in usual if own.get(key, "null") != usual[key]] for own in texts]
    names = []
    for own, whole, text in zip(facts, told, texts, strict=True):
        others = [key for key in whole if not key.startswith("method.")]
        shared = {key: values[key][text.get(key, "null")] for key in others}
        rarest = sorted(others, key=shared.__getitem__)[:NAMED_SETTINGS]
        few = [key for key in whole if key not in others or key in rarest]
        more = [f"{len(whole) - len(few)} more"] if len(whole) > len(few) else []
        names.append(", ".join([named(few, own), *more]))
    return names if len(set(names)) == len(names) else [named(*pair) for pair in zip(told, facts, strict=True)]


def _usual(found: Mapping[str, int], key: str, defaults: Mapping[str, Any]) -> str | None:
    if key in defaults and (default := _text(defaults[key])) in found:
        return default
    value, count = max(found.items(), key=lambda item: item[1])
    return value if 2 * count > sum(found.values()) > 2 else None


def _text(value: Any) -> str:
    """One text for values that are the same, as 16 and 16.0."""
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value, sort_keys=True)


@lru_cache(maxsize=4096)
def _config(config: str | None, id: str) -> dict[str, Any] | None:
    """A run's settings by dotted key; None without a config.yaml that can be read."""
    try:
        written = parse_yaml(config or "", id)
    except UserError:
        return None
    if not isinstance(written, dict):
        return None
    try:
        return resolve(Settings(written)).identity.compared
    except UserError:  # of another version, which this one would refuse
        return {key: value for key, value in flatten(written) if key not in NOT_COMPARED}


def _settings(record: Record) -> dict[str, Any]:
    """By dotted key, those of the method first; without a config.yaml the ones that are in the record."""
    settings = _config(record.config, record.id) or dict(flatten(json.loads(record.settings)))
    kept = {key: value for key, value in settings.items() if key not in NOT_COMPARED}
    ordered = sorted(kept.items(), key=lambda item: SECTIONS.get(item[0].partition(".")[0], len(SECTIONS)))
    return {key: _in_short(key, value, record) for key, value in ordered}


def _defaults(record: Record) -> dict[str, Any]:
    """Of the method and of how the model is loaded, as far as they are known, by dotted key."""
    found = {f"model.{key}": value for key, value in defaults_of(ModelConfig).items()}
    try:
        is_run = record.source == "run"
        kind = tasks.get(record.family, record.task).kind if is_run else json.loads(record.settings).get("task_kind")
        own = methods.defaults(methods.METHODS.find(record.method), kind or "", record.model)
    except UserError:  # of another version or a plug-in
        own = {}
    return found | {f"method.{key}": _in_short(key, value, record) for key, value in own.items()}


def _in_short(key: str, value: Any, record: Record) -> Any:
    roles = models.LINEAR_ROLES.get(models.model_type_of(record.model) or "")
    if not roles or not key.endswith("target_modules") or not isinstance(value, list):
        return value
    return ALL_LINEAR if {role for role in models.ROLES if getattr(roles, role)}.issubset(value) else value


def _data(record: Record) -> dict[str, Any]:
    """What is known of data and weights, where settings alone do not tell cells apart."""
    return {
        "protocol": record.protocol,
        "task version": record.task_version,
        "template": record.template_version,
        "training examples": record.train_examples,
        "evaluated examples": record.eval_examples,
        "training data": str(record.train_data)[:8],
        "evaluation data": str(record.eval_data)[:8],
        "weights": str(record.weights)[:8],
    }
