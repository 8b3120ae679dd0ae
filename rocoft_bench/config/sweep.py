"""Sweep files: one file for many runs, as the product of `axes` over common settings.

    include: table1_roberta_base.yaml                   # another sweep or settings; a list here replaces one there
    model: {name: roberta-large}
    axes:
      config: [glue/rte.yaml, glue/mrpc.yaml]           # files below configs/ that the runs start from
      method: [full, lora, {name: rocoft, mode: row, rank: 1}]
      seed: [0, 1, 2]
    exclude:                                            # left out is a run that meets one of these
      - {method: [full, lora], task: mrpc}
    overrides:                                          # laid over the runs that meet `where`, one after the other
      - {where: {method: lora}, set: {training: {learning_rate: 1.0e-3}, method.rank: 4}}
    evaluate_also:                                      # finished runs of a family are evaluated on its other tasks
      math: [addsub, svamp]
    tune: {grid: {training.learning_rate: [1.0e-4, 1.0e-3]}, hold_out: 400}   # first, see `rocoft_bench.config.tuning`
    plugins: [my_method.py]                             # as --plugin, from where this file is; code: run what you trust

Every other key is a setting of all runs. An axis is a setting too, dotted where it lies deeper
(`training.learning_rate`); `method`, `model` and `task` take a name alone. Conditions look at the settings as files and
axes give them, before overrides and before defaults.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from rocoft_bench.config.condition import Condition, as_condition
from rocoft_bench.config.loading import Settings, checked, find_config, override, read_settings
from rocoft_bench.config.schema import OF_THE_METHOD, RunConfig
from rocoft_bench.config.tuning import Tuning, group_of, nested
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.plugins import load_files

AXES = "axes"
CONFIG = "config"
"""The axis of the files that runs start from."""
METHOD = "method"
METHOD_AXES = (METHOD, f"{METHOD}.name")
PARTS = ("include", AXES, "exclude", "overrides", "evaluate_also", "tune", "plugins")
"""Keys of a sweep file that are no settings."""

MAX_RUNS = 100_000

SweepRun = tuple[dict[str, Any], Settings]
"""A run of a sweep: its value on each axis, and its settings."""


@dataclass(frozen=True)
class Override:
    """Settings for the runs that meet a condition."""

    where: Condition
    values: dict[str, Any]
    source: str


@dataclass(frozen=True)
class Sweep:
    """A sweep file: what is common to its runs, the values of each axis, and the exceptions."""

    path: Path
    common: dict[str, Any]
    axes: dict[str, list[Any]]
    common_method: dict[str, Any] = field(default_factory=dict)
    """The `method` of all runs, if there is one, and in `training` what an included file states for it."""
    exclude: list[Condition] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)
    evaluate_also: dict[str, list[str]] = field(default_factory=dict)
    """By task family, the tasks on which its finished runs are evaluated."""
    tuning: Tuning | None = None
    """The search before the runs."""

    def runs(self, assignments: Iterable[str] = ()) -> list[SweepRun]:
        """Every run, in the order of the axes. Axis `config` < method < common < other axes < overrides < --set.

        Raises: UserError if a file of the axis `config` cannot be read, a condition is met by no run, or no run is
        left.
        """
        assignments = list(assignments)
        count = math.prod(map(len, self.axes.values()))
        if count > MAX_RUNS:
            raise UserError(f"{self.path}: {AXES} make {count:,} runs; {MAX_RUNS:,} is the most for one sweep")
        runs = list(self._product())
        written = [settings.values | {key: point[key] for key in point if key == CONFIG} for point, settings in runs]
        self._check_conditions(written)
        kept = []
        for (point, settings), values in zip(runs, written, strict=True):
            if any(condition.matches(values) for condition in self.exclude):
                continue
            for change in [each for each in self.overrides if each.where.matches(values)]:
                settings.update(change.values, change.source)
            settings.assign(assignments)
            kept.append((point, settings))
        if not kept:
            raise UserError(f"{self.path}: exclude leaves no run")
        return kept

    def trials(self, assignments: Iterable[str] = ()) -> list[SweepRun]:
        """Every trial of the search, with its value on each axis and of each tuned setting; none without a search.

        Raises: UserError as `runs`, and if what is tuned is set otherwise too.
        """
        if self.tuning is None:
            return []
        assignments = list(assignments)
        self.tuning.check(self.axes, assignments, str(self.path))
        searches = {group_of(point): (point, settings) for point, settings in self.runs(assignments)}
        return [
            ({**point, **varied}, trial)
            for point, settings in searches.values()
            for varied, trial in self.tuning.trial_settings(settings, assignments)
        ]

    def tuned_runs(self, chosen: Mapping[str, Mapping[str, Any]], assignments: Iterable[str] = ()) -> list[SweepRun]:
        """Of `runs`, those whose search has ended, with what it chose. chosen: by `group_of` the value of each setting.

        Raises: UserError as `runs`.
        """
        found = [run for run in self.runs(assignments) if group_of(run[0]) in chosen]
        for point, settings in found:
            settings.update(nested(dict(chosen[group_of(point)])), "tune")
        return found

    def evaluation_settings(self, settings: Settings) -> Iterator[Settings]:
        """The (valid) settings of a run, once finished, as each evaluation beside its own takes them: another task, the
        same training.
        """
        own = settings.values["task"]
        others = [] if own.get("hold_out") else self.evaluate_also.get(own["family"], [])
        for name in [each for each in others if each != own["name"]]:
            changed = settings.copy()
            section = {"name": name, "train_on": own.get("train_on") or own["name"]}
            changed.update({"task": section}, f"{self.path}: evaluate_also")
            yield changed

    def _product(self) -> Iterator[SweepRun]:
        configs = self.axes.get(CONFIG, [None])
        bases = {name: Settings() if name is None else read_settings(find_config(name)) for name in configs}
        for values in product(*self.axes.values()):
            point = dict(zip(self.axes, values, strict=True))
            settings = bases[point.get(CONFIG)].copy()
            for layer, source in self._layers(point):
                settings.update(layer, source)
            yield point, settings

    def _layers(self, point: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
        """What is laid over the file of the axis `config`, and where it stands. The method comes first: a learning rate
        that goes with another method is that of a file of one run, not what the sweep says for all of its runs.
        """
        yield self.common_method, str(self.path)
        first = [axis for axis in METHOD_AXES if axis in point]
        last = [axis for axis in point if axis not in (CONFIG, *METHOD_AXES)]
        for axis in first:
            yield override(axis, point[axis]), f"{self.path}: {AXES}.{axis}"
        yield self.common, str(self.path)
        for axis in last:
            yield override(axis, point[axis]), f"{self.path}: {AXES}.{axis}"

    def _check_conditions(self, written: list[dict[str, Any]]) -> None:
        for number, condition in enumerate(self.exclude, 1):
            condition.check_met(written, f"{self.path}: exclude, entry {number}")
        for change in self.overrides:
            change.where.check_met(written, change.source)
        if self.evaluate_also:
            Condition({"family": list(self.evaluate_also)}).check_met(written, f"{self.path}: evaluate_also")


def read_sweep(path: Path) -> Sweep | None:
    """The sweep that a file describes, or None where it is the settings of one run.

    Raises: UserError if the file cannot be read or one of its parts is not of the form above.
    """
    settings = read_settings(path)
    values = settings.values
    if AXES not in values:
        return None
    allowed = (*RunConfig.model_fields, *PARTS)
    for key in values:
        if key not in allowed:
            raise UserError(f"{path}: {key} is neither a setting nor a part of a sweep; {suggest(key, allowed)}")
    _load_plugins(path, settings)
    axes = _lists(values.pop(AXES) or None, f"{path}: {AXES}", "setting: [value, …]")
    if not all(isinstance(name, str) for name in axes.get(CONFIG, [])):
        raise UserError(f"{path}: {AXES}.{CONFIG} = {axes[CONFIG]!r}: must be names of YAML files")
    tune = values.pop("tune", None)
    return Sweep(
        path=path,
        axes=axes,
        exclude=[as_condition(entry, where) for where, entry in _entries(path, "exclude", values)],
        overrides=[_as_override(entry, where) for where, entry in _entries(path, "overrides", values)],
        tuning=None if tune is None else checked(Tuning, tune, settings.sources, "tune"),
        evaluate_also=_lists(values.pop("evaluate_also", {}), f"{path}: evaluate_also", "family: [task, …]"),
        common_method=_take_method(path, settings),
        common=values,
    )


def _load_plugins(path: Path, settings: Settings) -> None:
    """Run the files of a sweep's `plugins`, which are relative to the file that names them."""
    names = settings.values.pop("plugins", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: plugins = {names!r}: must be a list of files")
    load_files(Path(settings.sources["plugins"]).parent / name for name in names)


def _take_method(path: Path, settings: Settings) -> dict[str, Any]:
    """Take the method out of a sweep's common settings, with the learning rate and weight decay that a file of one run,
    which the sweep includes, states for it. What the sweep itself states is for every method.
    """
    values, sources = settings.values, settings.sources
    if METHOD not in values:
        return {}
    taken = {METHOD: values.pop(METHOD)}
    if sources.get(f"{METHOD}.name", str(path)) != str(path):
        included = [key for key in OF_THE_METHOD if sources.get(f"training.{key}", str(path)) != str(path)]
        taken["training"] = {key: values["training"].pop(key) for key in included}
    return taken


def _lists(content: Any, where: str, form: str) -> dict[str, list[Any]]:
    if not isinstance(content, dict):
        raise UserError(f"{where} must hold `{form}`")
    for name, choices in content.items():
        if not isinstance(choices, list) or not choices:
            raise UserError(f"{where}.{name} = {choices!r}: must be a list of values")
    return content


def _entries(path: Path, key: str, values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Take the list `key` out of the values: its entries, each with its place for messages, counted from 1."""
    content = values.pop(key, [])
    if not isinstance(content, list):
        raise UserError(f"{path}: {key} = {content!r}: must be a list")
    for number, entry in enumerate(content, 1):
        yield f"{path}: {key}, entry {number}", entry


def _as_override(content: Any, where: str) -> Override:
    if not isinstance(content, dict) or set(content) != {"where", "set"} or not isinstance(content["set"], dict):
        raise UserError(f"{where} = {content!r}: must hold `where: {{setting: value}}` and `set: {{setting: value}}`")
    return Override(as_condition(content["where"], where), nested(content["set"]), where)
