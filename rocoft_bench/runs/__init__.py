"""A run on disk: its folder, record and provenance."""

from rocoft_bench.runs.directory import (
    RunBusyError,
    RunDirectory,
    config_hash,
    config_values,
    find_run,
    settings_hash,
)
from rocoft_bench.runs.efficiency_record import EfficiencyRecord
from rocoft_bench.runs.files import replace_atomically, write_json, write_json_lines, write_text
from rocoft_bench.runs.kernel_record import Kernel, KernelName, KernelRecord
from rocoft_bench.runs.lock import inherit as inherit_lock
from rocoft_bench.runs.provenance import provenance
from rocoft_bench.runs.record import LOG_TAIL, MAKE_ROOM, SMALLER, Failure, RunRecord, Status, read_record

__all__ = [
    "LOG_TAIL",
    "MAKE_ROOM",
    "SMALLER",
    "EfficiencyRecord",
    "Failure",
    "Kernel",
    "KernelName",
    "KernelRecord",
    "RunBusyError",
    "RunDirectory",
    "RunRecord",
    "Status",
    "config_hash",
    "config_values",
    "find_run",
    "inherit_lock",
    "provenance",
    "read_record",
    "replace_atomically",
    "settings_hash",
    "write_json",
    "write_json_lines",
    "write_text",
]
