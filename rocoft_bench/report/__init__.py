"""From run records to tables, statistics and figures beside the paper's."""

from rocoft_bench.analysis.method_comparison import check_ours
from rocoft_bench.analysis.records import Results, Run, Unreadable, read_results
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, only_run
from rocoft_bench.report.folder import write_report
from rocoft_bench.report.tables import all_tables, before_and_after, side_by_side
from rocoft_bench.report.tables.explanation import explain_beside_paper, explain_runs
