"""Settings: the schema, reading YAML with `include`, overrides, and messages that say what to fix."""

from rocoft_bench.config.catalog import known_model
from rocoft_bench.config.condition import Condition, parse_filter
from rocoft_bench.config.loading import (
    Settings,
    assigned,
    checked,
    config_files,
    config_root,
    find_config,
    flatten,
    override,
    parse_assignment,
    read_settings,
    resolve_config_path,
    validate,
)
from rocoft_bench.config.paths import ROW_PATHS, absolute, expanded, is_folder, model_name
from rocoft_bench.config.schema import (
    OF_THE_METHOD,
    Count,
    CountFromZero,
    LargeCount,
    ModelConfig,
    RunConfig,
    StrictModel,
    TaskConfig,
    TrainingConfig,
    defaults_of,
)
from rocoft_bench.config.sweep import Run as SweepRun
from rocoft_bench.config.sweep import Sweep, read_sweep
from rocoft_bench.config.tuning import SEED, Tuning, group_of

__all__ = [
    "OF_THE_METHOD",
    "ROW_PATHS",
    "SEED",
    "Condition",
    "Count",
    "CountFromZero",
    "LargeCount",
    "ModelConfig",
    "RunConfig",
    "Settings",
    "StrictModel",
    "Sweep",
    "SweepRun",
    "TaskConfig",
    "TrainingConfig",
    "Tuning",
    "absolute",
    "assigned",
    "checked",
    "config_files",
    "config_root",
    "defaults_of",
    "expanded",
    "find_config",
    "flatten",
    "group_of",
    "is_folder",
    "known_model",
    "model_name",
    "override",
    "parse_assignment",
    "parse_filter",
    "read_settings",
    "read_sweep",
    "resolve_config_path",
    "validate",
]
