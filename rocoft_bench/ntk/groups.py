"""From a YAML file and the command line to the analyses that they name: for each task, one for each draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rocoft_bench.config import Settings, checked
from rocoft_bench.errors import UserError
from rocoft_bench.ntk.fewshot import tasks
from rocoft_bench.ntk.settings import DRAW_SEEDS, PUBLISHED, KernelSettings

SECTION = "ntk"
"""The one group of a file of analyses. It holds settings of an analysis, and `tasks`, `seeds`, and `label_words` by
task."""


def of_paper() -> list[str]:
    """The thirteen tasks of Tables 4, 5 and 13."""
    return [name for name, task in tasks.TASKS.items() if not task.embedded]


def is_of_kernels(settings: Settings) -> bool:
    """Whether a file is one of kernel analyses."""
    return SECTION in settings.values


def analyses(settings: Settings) -> list[list[KernelSettings]]:
    """The analyses of each task, which differ in their seed only.

    settings: as read from a file and laid over by flags, all in the section `ntk`.

    Raises:
        UserError: If a setting is unknown or out of range, or the file holds something else.
    """
    others = [key for key in settings.values if key != SECTION]
    if others:
        raise UserError(
            f"{settings.sources.get(others[0], others[0])}: {others[0]} is not a setting of kernel analyses"
        )
    values = dict(settings.values.get(SECTION) or {})
    names = _listed(values.pop("tasks", None), "tasks", str)
    seeds = _listed(values.pop("seeds", list(DRAW_SEEDS)), "seeds", int)
    words = values.pop("label_words", None)
    if values.get("preset") == "published":
        values = {**PUBLISHED, **values}
    sources = dict(settings.sources)
    return [
        [_one({**values, "task": name, "seed": seed, "label_words": _words(words, name)}, sources) for seed in seeds]
        for name in names
    ]


def _one(values: dict[str, Any], sources: dict[str, str]) -> KernelSettings:
    model = values.get("model")
    named = {**values, "model": {"name": model}} if isinstance(model, str) else dict(values)
    if named.get("method") is not None:
        method = named["method"]
        named["method"] = {"name": method} if isinstance(method, str) else method
        named.setdefault("kernels", ["trained"])
    return checked(KernelSettings, named, sources, SECTION)


def _words(words: Any, task: str) -> Any:
    return words.get(task) if isinstance(words, dict) else words


def _listed(value: Any, key: str, kind: type) -> Sequence[Any]:
    if not isinstance(value, list) or not value or not all(type(each) is kind for each in value):
        raise UserError(f"{SECTION}.{key} = {value!r}: must be a list of {'names' if kind is str else 'whole numbers'}")
    return list(dict.fromkeys(value))


def flagged(settings: Settings, flags: dict[str, Any]) -> Settings:
    """The settings with those of the command line laid over them; None stands for a flag that was not given."""
    laid = replace(settings.copy())
    for key, value in flags.items():
        if value is not None:
            laid.update({SECTION: {key: value}}, f"--{key.replace('_', '-')}")
    return laid
