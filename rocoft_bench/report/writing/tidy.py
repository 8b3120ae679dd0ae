"""Tables as data: one line per number, at full precision."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields

from rocoft_bench.analysis.method_comparison import Comparison
from rocoft_bench.analysis.seed_statistics import SeedDifference
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.report.writing.cleaning import cleaned
from rocoft_bench.report.writing.csv_text import csv_text
from rocoft_bench.report.writing.texts import cell_text

FIELDS = (
    *("table", "number", "model", "method", "variant", "column", "task", "part", "unit"),
    *("value", "deviation", "n", "reference_title", "reference", "reference_deviation", "reference_text"),
    *("difference", "standing", "text", "failures", "runs"),
)


def as_csv(tables: Sequence[Table]) -> str:
    """A line for each number that was measured or that the paper has, and for each cell that is a text or a failure.

    `failures` and `runs` are joined by semicolons. The conditions of a line's table follow as `condition_…`; a
    condition that a table does not state is empty.
    """
    tables = [cleaned(table) for table in tables]
    names = {name: _condition(name) for table in tables for name in table.conditions}
    stated = [(table, {names[name]: value for name, value in table.conditions.items()}) for table in tables]
    lines = ({**line, **conditions} for table, conditions in stated for line in _lines(table))
    return csv_text([*FIELDS, *dict.fromkeys(names.values())], lines)


def comparisons_csv(comparisons: Iterable[Comparison]) -> str:
    """A line for each comparison of two methods, all numbers in full."""
    names = [column.name for kind in (Comparison, SeedDifference) for column in fields(kind)]
    names.remove("over_seeds")
    lines = map(asdict, comparisons)
    return csv_text(names, ({**(line.pop("over_seeds") or {}), **line} for line in lines))


def _condition(name: str) -> str:
    return f"condition_{name.lower().replace(' ', '_')}"


def _lines(table: Table) -> Iterator[dict[str, object]]:
    place = {"table": table.key, "number": table.number or ""}
    for row in table.rows:
        for column in table.columns:
            cell = row.cell(column)
            for name, stat in _stats(cell, column):
                yield {**place, "part": name, **_numbers(stat), **_cell(row, column, cell)}


def _stats(cell: Cell, column: Column) -> list[tuple[str, Stat]]:
    """The numbers to tell of by their names; a nameless nothing for a cell that has something to say without any."""
    names = [*column.parts, *[""] * len(cell.parts)]
    known = [
        (name, stat)
        for name, stat in zip(names, cell.parts, strict=False)
        if stat.value is not None or stat.reference is not None
    ]
    return known or ([] if cell.is_empty and not cell.reference_text else [("", Stat())])


def _numbers(stat: Stat) -> dict[str, object]:
    numbers = asdict(stat)
    numbers["standing"] = numbers.pop("highlight")
    return numbers


def _cell(row: Row, column: Column, cell: Cell) -> dict[str, object]:
    return {
        "model": row.model,
        "method": row.method,
        "variant": row.variant,
        "reference_title": row.reference_title,
        "column": column.key,
        "task": column.task or "",
        "unit": column.unit,
        "text": cell_text(cell, column),
        "reference_text": cell.reference_text,
        "failures": ";".join(cell.failures),
        "runs": ";".join(cell.runs),
    }
