"""Models: where they come from, loading them for a task, and counting their parameters."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rocoft_bench.config.catalog import KNOWN_MODELS, KnownModel, known_model
from rocoft_bench.models.architectures import model_type_of, paper_model
from rocoft_bench.models.limits import Limits, limits
from rocoft_bench.models.linear_roles import ENCODERS, LINEAR_ROLES, ROLES, LinearRoles, target_pattern
from rocoft_bench.models.pretrained import AUTO_CLASSES, MASKED_LM, TASKS_WITH_HEAD, Loaded, ModelSource, load, locate
from rocoft_bench.models.shapes import ForwardShapes, LinearShape, ModelShapes, block_of, shipped_shapes
from rocoft_bench.models.target_modules import (
    PEFT_CONFIG,
    check_named,
    peft_pattern,
    require_targets,
    with_names_for_patterns,
)

if TYPE_CHECKING:
    from rocoft_bench.models.parameter_counts import (
        ParameterCounts,
        block_linears,
        count_parameters,
        head_parameter_names,
        is_bias,
        is_norm,
        local_shapes,
        shapes_of,
    )
    from rocoft_bench.models.precision import hold_in_float32

_NEED_TORCH = {
    **dict.fromkeys(
        (
            "ParameterCounts",
            "block_linears",
            "count_parameters",
            "head_parameter_names",
            "is_bias",
            "is_norm",
            "local_shapes",
            "shapes_of",
        ),
        "parameter_counts",
    ),
    "hold_in_float32": "precision",
}


def __getattr__(name: str) -> Any:
    if name in _NEED_TORCH:
        module = importlib.import_module(f"rocoft_bench.models.{_NEED_TORCH[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AUTO_CLASSES",
    "ENCODERS",
    "KNOWN_MODELS",
    "LINEAR_ROLES",
    "MASKED_LM",
    "PEFT_CONFIG",
    "ROLES",
    "TASKS_WITH_HEAD",
    "ForwardShapes",
    "KnownModel",
    "Limits",
    "LinearRoles",
    "LinearShape",
    "Loaded",
    "ModelShapes",
    "ModelSource",
    "ParameterCounts",
    "block_linears",
    "block_of",
    "check_named",
    "count_parameters",
    "head_parameter_names",
    "hold_in_float32",
    "is_bias",
    "is_norm",
    "known_model",
    "limits",
    "load",
    "local_shapes",
    "locate",
    "model_type_of",
    "paper_model",
    "peft_pattern",
    "require_targets",
    "shapes_of",
    "shipped_shapes",
    "target_pattern",
    "with_names_for_patterns",
]
