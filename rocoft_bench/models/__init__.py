"""Models: where they come from, and loading them for a task.

What needs torch at import is imported from its module: `parameter_counts`, `shape_reading`, `precision`.
"""

from rocoft_bench.config.catalog import KNOWN_MODELS, KnownModel, known_model
from rocoft_bench.models.architectures import model_type_of, paper_model
from rocoft_bench.models.limits import limits
from rocoft_bench.models.linear_roles import ENCODERS, LINEAR_ROLES, ROLES, target_pattern
from rocoft_bench.models.pretrained import (
    AUTO_CLASSES,
    MASKED_LM,
    TASKS_WITH_HEAD,
    Loaded,
    ModelSource,
    check_name,
    load,
    locate,
)
from rocoft_bench.models.shapes import ForwardShapes, LinearShape, ModelShapes, block_of, shipped_shapes
from rocoft_bench.models.target_modules import (
    PEFT_CONFIG,
    check_named,
    peft_pattern,
    require_targets,
    with_names_for_patterns,
)
