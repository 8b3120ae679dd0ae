"""Tables of results: training runs, kernel analyses and efficiency benches, laid out as the paper's."""

from __future__ import annotations

import re

from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Table
from rocoft_bench.report.tables.compare import side_by_side
from rocoft_bench.report.tables.demo import before_and_after
from rocoft_bench.report.tables.efficiency import efficiency_tables
from rocoft_bench.report.tables.kernels import kernel_tables
from rocoft_bench.report.tables.runs import build_tables, selection_tables

__all__ = ["all_tables", "before_and_after", "build_tables", "side_by_side"]


def all_tables(results: Results) -> list[Table]:
    """Every table that there are results for, in the order of the paper, then the others."""
    of_runs = [*build_tables(results.runs), *selection_tables(results.runs)]
    return sorted([*of_runs, *kernel_tables(results), *efficiency_tables(results)], key=_place)


def _place(table: Table) -> tuple[bool, bool, int]:
    """Tables of the paper by number, then its figures, then tables that it does not have."""
    number = re.search(r"\d+", table.number or "")
    is_figure = (table.number or "").startswith("Figure")
    return (number is None, is_figure, int(number.group()) if number else 0)
