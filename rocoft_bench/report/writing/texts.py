"""A table in words, before any format: what a cell, a row, a column and a title say. Texts are taken as clean."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rocoft_bench.analysis.table import Cell, Column, Highlight, Row, Stat, Table

MISSING = "–"
"""Stands for the missing number of a pair of which the other is known; a cell without any number is empty."""


@dataclass(frozen=True)
class Piece:
    """A stretch of a cell's text, and how its number stands among those of the column."""

    text: str
    highlight: Highlight | None = None


@dataclass(frozen=True)
class Line:
    """A line of a table: a method's results, or beneath them what they stand beside, or the difference."""

    title: str
    cells: tuple[tuple[Piece, ...], ...]
    is_result: bool = True


def lines(row: Row, columns: Sequence[Column]) -> list[Line]:
    """The line of a row and, where the row has any, those of its references and its differences."""
    cells = [(row.cell(column), column) for column in columns]
    beneath = (
        (row.reference_title or "reference", [reference_text(cell, column) for cell, column in cells]),
        ("difference", [difference_text(cell, column) for cell, column in cells]),
    )
    return [
        Line(row.title, tuple(cell_pieces(cell, column) for cell, column in cells)),
        *(Line(title, tuple((Piece(t),) for t in texts), False) for title, texts in beneath if any(texts)),
    ]


def cell_pieces(cell: Cell, column: Column) -> tuple[Piece, ...]:
    """What was measured: `89.97 ± 0.31 / 90.79 ± 0.28 (n=3)`, or the cell's text; then `[oom ×2]` for runs without a
    result.
    """
    result = [Piece(cell.text)] if cell.text else _number_pieces(cell.parts, column)
    failures = [[Piece(f"[{status}{f' ×{n}' if n > 1 else ''}]")] for status, n in Counter(cell.failures).items()]
    return _joined([group for group in (result, *failures) if group], " ")


def cell_text(cell: Cell, column: Column) -> str:
    return "".join(piece.text for piece in cell_pieces(cell, column))


def reference_text(cell: Cell, column: Column) -> str:
    """What the paper, or whatever the row stands beside, says."""
    shown = [with_deviation(part.reference, part.reference_deviation, column) for part in cell.parts]
    return cell.reference_text or _slashed(shown)


def difference_text(cell: Cell, column: Column) -> str:
    return _slashed([_signed(part.difference, column) for part in cell.parts])


def with_deviation(value: float | None, deviation: float | None, column: Column) -> str:
    """A mean with its standard deviation where it has one; empty where there is none."""
    if value is None:
        return ""
    return _number(value, column) + ("" if deviation is None else f" ± {_number(deviation, column)}")


def heading(column: Column) -> str:
    """The title of a column with the names of its numbers and, unless that says it, their unit: `MRPC acc/F1 (%)`."""
    names = "/".join(part for part in column.parts if part and part != column.title)
    title = f"{column.title} {names}".strip()
    return title if column.unit in ("", *title.split()) else f"{title} ({column.unit})"


def caption(table: Table) -> str:
    """`Table 1: …` or `Figure 4: …` for what the paper has, else the title alone."""
    return f"{place(table)}: {table.title}" if table.number else table.title


def place(table: Table) -> str:
    """Where a numbered table is in the paper."""
    number = table.number or ""
    return f"Table {number}" if number[:1].isdigit() else number


def _number_pieces(parts: Sequence[Stat], column: Column) -> Sequence[Piece]:
    """The means, those of several runs with their deviations and n: once where the parts agree in it."""
    if all(part.value is None for part in parts):
        return []
    counts = {part.n if part.deviation is not None else 0 for part in parts if part.value is not None}
    shared = counts.pop() if len(counts) == 1 else None
    pieces = _joined([_part_pieces(part, column, with_n=shared is None) for part in parts], " / ")
    return [*pieces, *_count(shared)] if shared else pieces


def _part_pieces(part: Stat, column: Column, with_n: bool) -> list[Piece]:
    if part.value is None:
        return [Piece(MISSING)]
    number = Piece(_number(part.value, column), part.highlight)
    if part.deviation is None:
        return [number]
    return [number, Piece(f" ± {_number(part.deviation, column)}"), *(_count(part.n) if with_n else [])]


def _count(n: int) -> list[Piece]:
    return [Piece(f" (n={n})")]


def _joined(groups: Sequence[Sequence[Piece]], separator: str) -> tuple[Piece, ...]:
    pieces: list[Piece] = []
    for group in groups:
        pieces += [Piece(separator), *group] if pieces else group
    return tuple(pieces)


def _slashed(texts: Sequence[str]) -> str:
    return " / ".join(text or MISSING for text in texts) if any(texts) else ""


def _number(value: float, column: Column) -> str:
    """In the column's decimals, thousands separated, with a real minus sign."""
    return f"{value:z,.{column.decimals}f}".replace("-", "−")


def _signed(value: float | None, column: Column) -> str:
    """With its sign, unless it is zero as shown."""
    if value is None:
        return ""
    shown = _number(value, column)
    return f"+{shown}" if value > 0 and shown.strip("0.") else shown
