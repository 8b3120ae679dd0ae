"""The fine-tuning methods: one file each, one line each in the registry."""

from __future__ import annotations

from typing import Any

from rocoft_bench.config import checked
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.methods.base import ALL_TASKS, TASKS_WITH_HEAD, Method
from rocoft_bench.methods.dense import Full, HeadOnly
from rocoft_bench.methods.lora import LoRA
from rocoft_bench.methods.rocoft import RoCoFT
from rocoft_bench.models import known_model

REGISTRY: dict[str, type[Method]] = {
    method.name: method
    for method in (
        RoCoFT,
        Full,
        HeadOnly,
        LoRA,
    )
}
"""By name, in the order of the paper's tables."""


def resolve(
    section: dict[str, Any], sources: dict[str, str] | None = None, task_kind: str = "", model: str = ""
) -> Method:
    """The method that a config's `method` section names, with its settings checked and completed.

    task_kind, model: what the defaults may depend on (`Method.presets`).

    Raises:
        UserError: If the method or one of its settings is unknown or out of range.
    """
    name = section.get("name")
    if name not in REGISTRY:
        raise UserError(f"unknown method {name!r}; {suggest(name, REGISTRY)}")
    method = REGISTRY[name]
    given = {key: value for key, value in section.items() if key != "name"}
    known = known_model(model)
    presets = [method.presets.get(task_kind, {}), method.presets.get(known.alias, {}) if known else {}]
    return method(checked(method.Settings, presets[0] | presets[1] | given, sources, prefix="method"))


__all__ = ["ALL_TASKS", "REGISTRY", "TASKS_WITH_HEAD", "Method", "resolve"]
