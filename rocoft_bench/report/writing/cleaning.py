"""What every writer starts from: names, notes and labels come from users and may hold anything."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

from rocoft_bench.analysis.table import Cell, Column, Row, Table

REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that show a text in another order than it has."""


def cleaned(table: Table) -> Table:
    """The table with each of its texts on one line, and without characters that command a terminal or that no file
    can hold.
    """
    return replace(
        table,
        title=one_line(table.title),
        number=one_line(table.number) if table.number else None,
        columns=[_cleaned_column(column) for column in table.columns],
        rows=[_cleaned_row(row) for row in table.rows],
        conditions={one_line(name): one_line(value) for name, value in table.conditions.items()},
        notes=[one_line(note) for note in table.notes],
    )


def _cleaned_column(column: Column) -> Column:
    parts = tuple(map(one_line, column.parts))
    return replace(column, title=one_line(column.title), parts=parts, unit=one_line(column.unit))


def _cleaned_row(row: Row) -> Row:
    return Row(
        model=one_line(row.model),
        method=one_line(row.method),
        cells={key: _cleaned_cell(cell) for key, cell in row.cells.items()},
        variant=one_line(row.variant),
        reference_title=one_line(row.reference_title),
    )


def _cleaned_cell(cell: Cell) -> Cell:
    return replace(
        cell,
        text=one_line(cell.text),
        reference_text=one_line(cell.reference_text),
        runs=tuple(map(one_line, cell.runs)),
        failures=tuple(map(one_line, cell.failures)),
    )


def one_line(text: str) -> str:
    """A text, such as a user's, made fit to be printed on a line."""
    harmless = text if text.isprintable() else "".join(map(_harmless, text))
    return " ".join(harmless.split())


def _harmless(character: str) -> str:
    commands = unicodedata.category(character) in ("Cc", "Cs") and not character.isspace()
    return "\N{REPLACEMENT CHARACTER}" if commands or character in REORDERING else character
