"""What figures read: the results and their tables, the main metric of each task, and which tasks there are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rocoft_bench.analysis.method_comparison import is_of
from rocoft_bench.analysis.records import Results, Run
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table


@dataclass(frozen=True)
class FigureData:
    """What is drawn. ours: the method that stands out, by its name or the title of a row."""

    results: Results
    tables: Sequence[Table]
    ours: str

    @cached_property
    def runs(self) -> dict[str, Run]:
        return {run.id: run for run in self.results.runs}

    @cached_property
    def _of_ours(self) -> set[str]:
        runs = {run.id for run in self.results.runs if is_of(run, self.ours)}
        return runs | {bench.id for bench in self.results.efficiency if is_of(bench, self.ours)}

    def is_ours(self, row: Row) -> bool:
        return any(id in self._of_ours for cell in row.cells.values() for id in cell.runs)

    def tables_of_runs(self) -> list[tuple[Table, str]]:
        """The tables that compare methods by their training runs, and are not of the paper's figures; by model."""
        tables = [table for table in self.tables if any(column.key == "adapter" for column in table.columns)]
        shown = [table for table in tables if not (table.number or "").startswith("Figure")]
        return [(table, model) for table in shown for model in table.models]


def number_in(cell: Cell | None) -> Stat | None:
    """The first number of a cell, which is a task's main metric; None if there is no value, or none that is finite."""
    part = cell.parts[0] if cell and cell.parts else None
    return part if part is not None and part.value is not None and math.isfinite(part.value) else None


def main_metric(row: Row, task: Column) -> float | None:
    part = number_in(row.cells.get(task.key))
    return part.value if part else None


def task_columns(table: Table) -> list[Column]:
    return [column for column in table.columns if column.task is not None and column.parts]


def rows_with_results(table: Table, model: str) -> list[Row]:
    """The methods that have a result in any task, without those that only the paper has."""
    tasks = task_columns(table)
    return [row for row in table.of_model(model) if any(main_metric(row, task) is not None for task in tasks)]


def titled(table: Table, model: str) -> tuple[str, str]:
    """Key and title of a model's part of a table."""
    if len(table.models) < 2:
        return table.key, table.title
    return f"{table.key}-{model}", f"{table.title}, {model}"


def stated(table: Table) -> str:
    """The conditions of a table that a caption repeats."""
    known = [f"{key}: {table.conditions[key]}." for key in ("Seeds", "Checkpoint") if table.conditions.get(key)]
    return " ".join(["", *known, "Other conditions: as of the table." if known else ""]).rstrip()
