"""Conditions on the settings of runs: `exclude` and `where` in sweep files, `--filter` on the command line."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rocoft_bench.config.catalog import known_model
from rocoft_bench.config.loading import flatten
from rocoft_bench.config.paths import ROW_PATHS, absolute, model_name
from rocoft_bench.errors import UserError, shortened, suggest
from rocoft_bench.untrusted import parse_yaml

SHORT = {"task": "task.name", "method": "method.name", "model": "model.name", "family": "task.family"}
"""Short keys, and the settings that they stand for."""

COMMA = re.compile(r",(?![^\[{]*[\]}])")
"""One that is not inside of brackets."""

_ABSENT = object()


@dataclass(frozen=True)
class Condition:
    """Settings by key (dotted, or one of `SHORT`), each with the values that will do; a run must have one of each.

    Numbers are equal as numbers ("1e-3" and 0.001), a known model is the same by its alias and by its hub id, and a
    folder however it is spelled.
    """

    wanted: Mapping[str, Sequence[Any]]

    def matches(self, values: dict[str, Any]) -> bool:
        """Whether nested settings meet it; one that they lack meets nothing."""
        return all(_comparable(key, _found(values, key)) in choices for key, choices in self._choices.items())

    @cached_property
    def _choices(self) -> dict[str, set[float | str]]:
        return {key: {_comparable(key, choice) for choice in choices} for key, choices in self.wanted.items()}

    def check_met(self, runs: Sequence[dict[str, Any]], where: str) -> None:
        """Refuse a condition that is probably mistyped. where: its place, for messages.

        Raises: UserError if no run has one of its settings or values, with those that there are; or if none meets it
        all.
        """
        for key, wanted in self.wanted.items():
            there = [value for values in runs if (value := _found(values, key)) is not _ABSENT]
            if not there:
                known = {name for values in runs for name, _ in flatten(values)}
                known |= {short for short, name in SHORT.items() if name in known}
                raise UserError(f"{where}: no run has a setting {key}; {suggest(key, known)}")
            names = {_comparable(key, value): str(value) for value in there}
            for choice in wanted:
                if _comparable(key, choice) not in names:
                    raise UserError(f"{where}: no run has {key} = {choice}; {suggest(choice, names.values())}")
        if not any(map(self.matches, runs)):
            raise UserError(f"{where}: no run has all of {self}; drop a part of it")

    def __str__(self) -> str:
        return ", ".join(f"{key} = {' or '.join(map(str, wanted))}" for key, wanted in self.wanted.items())


def as_condition(content: Any, where: str) -> Condition:
    """The condition that a YAML file states as `key: value` or `key: [value, …]`. where: its place, for messages.

    Raises: UserError if it is of another form.
    """
    if not isinstance(content, dict) or not content:
        raise UserError(f"{where} = {shortened(repr(content))}: must hold `setting: value` or `setting: [value, …]`")
    wanted = {str(key): value if isinstance(value, list) else [value] for key, value in content.items()}
    for key, choices in wanted.items():
        if not choices or any(isinstance(choice, dict) for choice in choices):
            raise UserError(f"{where}: {key} = {shortened(repr(content[key]))}: must be a value or a list of values")
    return Condition(wanted)


def parse_filter(*texts: str) -> Condition:
    """`key=value,…` of `--filter`, the values read as YAML. A key that comes again gives another value that will do.
    A list is a value: its commas, inside of brackets, begin no other key.

    >>> print(parse_filter("method=lora,task=rte", "method=vera"))
    method = lora or vera, task = rte

    Raises: UserError if a part is not key=value.
    """
    wanted: dict[str, list[Any]] = {}
    for text in texts:
        where = f"--filter {shortened(text)}"
        for part in COMMA.split(text):
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not (key and equals and value):
                raise UserError(f"{where}: write it as key=value,…, e.g. --filter method=lora,task=rte")
            wanted.setdefault(key, []).append(parse_yaml(value, where))
    return Condition(wanted)


def _found(values: dict[str, Any], key: str) -> Any:
    found: Any = values
    for part in SHORT.get(key, key).split("."):
        if not isinstance(found, dict) or part not in found:
            return _ABSENT
        found = found[part]
    return found


def _comparable(key: str, value: Any) -> float | str:
    """Equal for values that mean the same."""
    if SHORT.get(key, key) == SHORT["model"]:
        known = known_model(str(value))
        with suppress(ValueError):
            return known.hub_id if known else model_name(str(value))
    if key in ROW_PATHS and isinstance(value, str):
        with suppress(ValueError):
            return str(absolute(value))
    try:
        return str(value) if isinstance(value, bool) else float(value)
    except (ValueError, TypeError):
        return str(value)
