"""The fine-tuning methods: one file each, one line each in the registry."""

from __future__ import annotations

from typing import Any

from rocoft_bench.config import checked
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.methods.base import TASKS_WITH_HEAD, Method
from rocoft_bench.methods.dense import Full, HeadOnly
from rocoft_bench.methods.lora import LoRA
from rocoft_bench.methods.rocoft import RoCoFT

REGISTRY: dict[str, type[Method]] = {method.name: method for method in (RoCoFT, LoRA, Full, HeadOnly)}


def resolve(section: dict[str, Any], sources: dict[str, str] | None = None) -> Method:
    """The method that a config's `method` section names, with its settings checked and completed.

    Raises:
        UserError: If the method or one of its settings is unknown or out of range.
    """
    name = section.get("name")
    if name not in REGISTRY:
        raise UserError(f"unknown method {name!r}; {suggest(name, REGISTRY)}")
    method = REGISTRY[name]
    values = {key: value for key, value in section.items() if key != "name"}
    return method(checked(method.Settings, values, sources, prefix="method"))


__all__ = ["REGISTRY", "TASKS_WITH_HEAD", "Method", "resolve"]
