"""What a config can name, from this package and from outside of it: methods, tasks and metrics."""

from rocoft_bench.plugins.from_file import load_files, named_files
from rocoft_bench.plugins.registry import Plugin, Registry, changed_since, check_present, left_out, used

__all__ = ["Plugin", "Registry", "changed_since", "check_present", "left_out", "load_files", "named_files", "used"]
