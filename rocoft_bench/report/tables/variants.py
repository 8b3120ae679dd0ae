"""Which runs may share a cell: those that differ in nothing but their seed."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from rocoft_bench.analysis.groups import Facts, alike, model_facts
from rocoft_bench.analysis.records import Run
from rocoft_bench.config import Settings, flatten
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import config_values
from rocoft_bench.untrusted import parse_yaml

NOT_COMPARED = {
    "seed",
    "model.name",
    "model.revision",
    "task.data_dir",
    "training.checkpoint_seconds",
    "training.evaluate",
    "training.evaluate_before",
}
"""Settings that may differ within a cell: they change nothing in training. Models are compared by their weights and
data by their content, not by where they lie."""

SECTIONS = {"method": 0, "training": 1, "task": 2}
"""The order in which settings are named."""

NAMED_SETTINGS = 3


def variants(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of one method on one task, grouped into cells. The name of each says in which settings it differs from
    the others; the only one is called "".
    """
    settings = _settings_facts(runs)
    groups = alike(runs, lambda run: (settings[run.record.settings_hash], *circumstances(run)))
    if len(groups) == 1:
        return {"": groups[0]}
    return dict(sorted(zip(_names([group[0] for group in groups]), groups, strict=True)))


def _settings_facts(runs: Iterable[Run]) -> dict[str, str]:
    """By settings_hash what tells settings apart: where there are several, those of the config.yaml that count."""
    first = {run.record.settings_hash: run for run in runs}
    if len(first) == 1:
        return dict.fromkeys(first, "")
    known = {name: _config(run) for name, run in first.items()}
    return {name: json.dumps(config, sort_keys=True) if config else name for name, config in known.items()}


def _names(runs: Sequence[Run]) -> list[str]:
    """A name for each, by their settings, else by their rows, else by what identifies their settings."""
    for facts in (_settings, _rows):
        known = [facts(run) for run in runs]
        names = [_name(own, known) for own in known]
        if len(set(names)) == len(names):
            return names
    return [f"{run.record.settings_hash} {index}" for index, run in enumerate(runs, 1)]


def circumstances(run: Run) -> Facts:
    """What has to be the same for runs to be compared: weights, task version, protocol, and the rows with their
    contents. What a run that failed early did not know is None.
    """
    record = run.record
    rows = (record.data.get("train_rows"), record.data.get("eval_rows"))
    contents = (_content(record.data.get(part, {})) for part in ("train", "evaluation"))
    return (*model_facts(record.model), record.task.get("version"), record.protocol, *rows, *contents)


def _content(source: Mapping[str, Any]) -> Hashable:
    """What identifies the rows of a source: their hash; without one, where they are from."""
    return source.get("sha256") or (json.dumps(source, sort_keys=True) if source else None)


def _config(run: Run) -> dict[str, Any] | None:
    """The run's settings by dotted key; None without a config.yaml that can be read."""
    try:
        written = parse_yaml(run.config_text or "", str(run.directory.config))
    except UserError:
        return None
    if not isinstance(written, dict):
        return None
    return {key: _plain(value) for key, value in flatten(_completed(written)) if key not in NOT_COMPARED}


def _completed(written: dict[str, Any]) -> dict[str, Any]:
    """Settings with the defaults of those that an earlier version did not have yet; as they are where this version
    would refuse them.
    """
    try:
        return config_values(resolve(Settings(written)).config)
    except UserError:
        return written


def _plain(value: Any) -> Any:
    """16.0 and 16 are the same setting."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _settings(run: Run) -> dict[str, Any]:
    """By dotted key, those of the method first; without a config.yaml the ones that are in the record."""
    record = run.record
    settings = _config(run) or dict(flatten({"method": record.method, "task": record.task.get("settings", {})}))
    kept = {key: value for key, value in settings.items() if key not in NOT_COMPARED}
    return dict(sorted(kept.items(), key=lambda item: SECTIONS.get(item[0].partition(".")[0], len(SECTIONS))))


def _rows(run: Run) -> dict[str, Any]:
    """What is known of the rows, where settings alone do not tell cells apart."""
    record = run.record
    return {
        "protocol": record.protocol,
        "task version": record.task.get("version"),
        "training rows": record.data.get("train_rows"),
        "evaluated rows": record.data.get("eval_rows"),
        "training data": str(record.data.get("train", {}).get("sha256"))[:8],
        "evaluation data": str(record.data.get("evaluation", {}).get("sha256"))[:8],
        "weights": str(model_facts(record.model)[1])[:8],
    }


def _name(own: dict[str, Any], all_settings: list[dict[str, Any]]) -> str:
    """The settings that are not the same in all, e.g. "learning_rate=0.001, epochs=3"."""
    differing = [key for key in own if len({json.dumps(other.get(key)) for other in all_settings}) > 1]
    named = [f"{key.rpartition('.')[2]}={_shown(own[key])}" for key in differing[:NAMED_SETTINGS]]
    more = len(differing) - NAMED_SETTINGS
    return ", ".join([*named, f"{more} more"] if more > 0 else named)


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
