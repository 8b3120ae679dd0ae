"""From run records to tables beside the paper's."""

from rocoft_bench.report.records import read_records
from rocoft_bench.report.tables import Row, Table, build_tables

__all__ = ["Row", "Table", "build_tables", "read_records"]
