"""Tables as data: CSV with one line per number, at full precision, that a spreadsheet can be trusted with."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields

from rocoft_bench.analysis.method_comparison import Comparison
from rocoft_bench.analysis.seed_statistics import SeedDifference
from rocoft_bench.analysis.table import Cell, Column, Stat, Table
from rocoft_bench.report.writing.cleaning import cleaned, one_line
from rocoft_bench.report.writing.texts import cell_text

FIELDS = (
    *("table", "number", "model", "method", "variant", "column", "task", "part", "unit"),
    *("value", "deviation", "n", "reference_title", "reference", "reference_deviation", "reference_text"),
    *("difference", "standing", "text", "failures", "runs"),
)

FORMULA = ("=", "+", "-", "@")
"""What a formula begins with."""


def as_csv(tables: Sequence[Table]) -> str:
    """A line for each number that was measured or that the paper has, and for each cell that is a text or a failure.

    `failures` and `runs` are joined by semicolons. The conditions of a line's table follow as `condition_…`; a
    condition that a table does not state is empty.
    """
    tables = [cleaned(table) for table in tables]
    names = {name: f"condition_{name.lower().replace(' ', '_')}" for table in tables for name in table.conditions}
    stated = [(table, {names[name]: value for name, value in table.conditions.items()}) for table in tables]
    lines = ({**line, **conditions} for table, conditions in stated for line in _lines(table))
    return _csv_text([*FIELDS, *dict.fromkeys(names.values())], lines)


def comparisons_csv(comparisons: Iterable[Comparison]) -> str:
    """A line for each comparison of two methods, all numbers in full."""
    names = [column.name for kind in (Comparison, SeedDifference) for column in fields(kind)]
    names.remove("over_seeds")
    lines = map(asdict, comparisons)
    return _csv_text(names, ({**(line.pop("over_seeds") or {}), **line} for line in lines))


def _lines(table: Table) -> Iterator[dict[str, object]]:
    for row in table.rows:
        for column in table.columns:
            cell = row.cell(column)
            place = {
                "table": table.key,
                "number": table.number or "",
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
            for name, stat in _stats(cell, column):
                numbers = asdict(stat)
                yield {**place, "part": name, "standing": numbers.pop("highlight"), **numbers}


def _stats(cell: Cell, column: Column) -> list[tuple[str, Stat]]:
    """The numbers to tell of by their names; a nameless nothing for a cell that has something to say without any."""
    names = [*column.parts, *[""] * len(cell.parts)]
    known = [
        (name, stat)
        for name, stat in zip(names, cell.parts, strict=False)
        if stat.value is not None or stat.reference is not None
    ]
    return known or ([] if cell.is_empty and not cell.reference_text else [("", Stat())])


def _csv_text(fields: Sequence[str], lines: Iterable[Mapping[str, object]]) -> str:
    """A line of field names, then a line for each mapping; a field that it lacks is empty.

    Numbers are written in full. A text is on one line and, where a spreadsheet would take it for a formula, begins with
    an apostrophe.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [_harmless(field) for field in fields], restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({_harmless(k): _harmless(v) if isinstance(v, str) else v for k, v in line.items()})
    return stream.getvalue()


def _harmless(text: str) -> str:
    shown = one_line(text)
    return f"'{shown}" if unicodedata.normalize("NFKC", shown[:1]) in FORMULA else shown
