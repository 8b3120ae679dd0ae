"""From run records to tables, statistics and figures beside the paper's."""

from rocoft_bench.report.audit import paper_audit
from rocoft_bench.report.compare import side_by_side
from rocoft_bench.report.demo import before_and_after
from rocoft_bench.report.folder import all_tables, write_report
from rocoft_bench.report.model import Cell, Column, Part, Row, Table, only_run
from rocoft_bench.report.parameters import AuditRow, audit, explanation
from rocoft_bench.report.records import Problem, Results, Run, read_results
from rocoft_bench.report.tables import build_tables

__all__ = [
    "AuditRow",
    "Cell",
    "Column",
    "Part",
    "Problem",
    "Results",
    "Row",
    "Run",
    "Table",
    "all_tables",
    "audit",
    "before_and_after",
    "build_tables",
    "explanation",
    "only_run",
    "paper_audit",
    "read_results",
    "side_by_side",
    "write_report",
]
