"""A run on disk: its folder, record and provenance."""

from rocoft_bench.runs.directory import RunDirectory, config_hash, config_values, find_run, settings_hash
from rocoft_bench.runs.files import replace_atomically, write_json, write_json_lines, write_text
from rocoft_bench.runs.provenance import provenance
from rocoft_bench.runs.record import RunRecord

__all__ = [
    "RunDirectory",
    "RunRecord",
    "config_hash",
    "config_values",
    "find_run",
    "provenance",
    "replace_atomically",
    "settings_hash",
    "write_json",
    "write_json_lines",
    "write_text",
]
