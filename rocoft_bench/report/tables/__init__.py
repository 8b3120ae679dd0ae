"""Tables of results: training runs, kernel analyses and efficiency benches, laid out as the paper's."""

import re

from rocoft_bench.analysis.long_table import long_table
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Table, with_unique_keys
from rocoft_bench.report.tables.benches import complexity_tables, cost_tables
from rocoft_bench.report.tables.compare import side_by_side
from rocoft_bench.report.tables.kernel_tables import kernel_tables
from rocoft_bench.report.tables.kernels_against_training import tables_against_training
from rocoft_bench.report.tables.ranks import rank_tables
from rocoft_bench.report.tables.runs import before_and_after, run_tables, selection_tables
from rocoft_bench.report.tables.searches import tuning_tables

__all__ = ["all_tables", "before_and_after", "side_by_side"]


def all_tables(results: Results) -> list[Table]:
    """Every table that there are results for, in the order of the paper, then the others."""
    table = long_table(results)
    tables = [
        *run_tables(table),
        *selection_tables(table),
        *kernel_tables(table),
        *tables_against_training(results.kernels),
        *with_unique_keys(
            [*complexity_tables(table), *rank_tables(table), *cost_tables(table), *tuning_tables(results)]
        ),
    ]
    return sorted(tables, key=_place)


def _place(table: Table) -> tuple[bool, bool, int]:
    """Tables of the paper by number, then its figures, then tables that it does not have."""
    number = re.search(r"\d+", table.number or "")
    is_figure = (table.number or "").startswith("Figure")
    return (number is None, is_figure, int(number.group()) if number else 0)
