"""Settings: the schema, reading YAML with `include`, overrides, and messages that say what to fix."""

from rocoft_bench.config.catalog import known_model
from rocoft_bench.config.condition import Condition, parse_filter
from rocoft_bench.config.loading import (
    Settings,
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
    DEFAULT_METHOD,
    MIXED,
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
from rocoft_bench.config.sweep import Sweep, SweepRun, read_sweep
from rocoft_bench.config.tuning import SEED, Tuning, group_of
