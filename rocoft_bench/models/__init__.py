"""Models: where they come from, loading them for a task, and counting their parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rocoft_bench.models.architectures import model_type_of, paper_model
from rocoft_bench.models.catalog import KNOWN_MODELS, KnownModel, known_model
from rocoft_bench.models.layouts import ENCODERS, LAYOUTS, ROLES, Layout, target_pattern
from rocoft_bench.models.loading import AUTO_CLASSES, ModelSource, load, locate, longest_input

if TYPE_CHECKING:
    from rocoft_bench.models.parameters import (
        LinearShape,
        ModelShapes,
        ParameterCounts,
        block_linears,
        count_parameters,
        head_parameter_names,
        is_norm,
        shapes_of,
    )

_NEED_TORCH = (
    "LinearShape",
    "ModelShapes",
    "ParameterCounts",
    "block_linears",
    "count_parameters",
    "head_parameter_names",
    "is_norm",
    "shapes_of",
)


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        from rocoft_bench.models import parameters

        return getattr(parameters, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AUTO_CLASSES",
    "ENCODERS",
    "KNOWN_MODELS",
    "LAYOUTS",
    "ROLES",
    "KnownModel",
    "Layout",
    "LinearShape",
    "ModelShapes",
    "ModelSource",
    "ParameterCounts",
    "block_linears",
    "count_parameters",
    "head_parameter_names",
    "is_norm",
    "known_model",
    "load",
    "locate",
    "longest_input",
    "model_type_of",
    "paper_model",
    "shapes_of",
    "target_pattern",
]
