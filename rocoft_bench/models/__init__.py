"""Models: where they come from, loading them for a task, and counting their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rocoft_bench.models.catalog import KNOWN_MODELS, KnownModel, known_model
from rocoft_bench.models.loading import ModelSource, load, locate, longest_input

if TYPE_CHECKING:
    from rocoft_bench.models.parameters import LinearShape, ParameterCounts, block_linears, count_parameters

_NEED_TORCH = ("LinearShape", "ParameterCounts", "block_linears", "count_parameters")


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        from rocoft_bench.models import parameters

        return getattr(parameters, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "KNOWN_MODELS",
    "KnownModel",
    "LinearShape",
    "ModelSource",
    "ParameterCounts",
    "block_linears",
    "count_parameters",
    "known_model",
    "load",
    "locate",
    "longest_input",
]
