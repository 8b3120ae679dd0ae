"""From run records to tables beside the paper's."""

from rocoft_bench.report.demo import before_and_after
from rocoft_bench.report.parameters import AuditRow, audit, explanation
from rocoft_bench.report.records import read_records
from rocoft_bench.report.tables import Row, Table, build_tables

__all__ = ["AuditRow", "Row", "Table", "audit", "before_and_after", "build_tables", "explanation", "read_records"]
