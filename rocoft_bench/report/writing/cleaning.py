"""What every writer starts from: names, notes and labels come from users and may hold anything."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from rocoft_bench.report.model import Cell, Column, Row, Table


def cleaned(table: Table) -> Table:
    """The table with each of its texts on one line, and without characters that command a terminal or that no file
    can hold.
    """
    return replace(
        table,
        title=_one_line(table.title),
        number=_one_line(table.number) if table.number else None,
        columns=[_cleaned_column(column) for column in table.columns],
        rows=[_cleaned_row(row) for row in table.rows],
        conditions={_one_line(name): _one_line(value) for name, value in table.conditions.items()},
        notes=[_one_line(note) for note in table.notes],
    )


def _cleaned_column(column: Column) -> Column:
    parts = tuple(map(_one_line, column.parts))
    return replace(column, title=_one_line(column.title), parts=parts, unit=_one_line(column.unit))


def _cleaned_row(row: Row) -> Row:
    return Row(
        model=_one_line(row.model),
        method=_one_line(row.method),
        cells={key: _cleaned_cell(cell) for key, cell in row.cells.items()},
        variant=_one_line(row.variant),
        reference_title=_one_line(row.reference_title),
    )


def _cleaned_cell(cell: Cell) -> Cell:
    return replace(
        cell,
        text=_one_line(cell.text),
        reference_text=_one_line(cell.reference_text),
        runs=tuple(map(_one_line, cell.runs)),
        failures=tuple(map(_one_line, cell.failures)),
    )


def _one_line(text: str) -> str:
    return " ".join("".join(map(_harmless, text)).split())


def _harmless(character: str) -> str:
    commands = unicodedata.category(character) in ("Cc", "Cs") and not character.isspace()
    return "\N{REPLACEMENT CHARACTER}" if commands else character
