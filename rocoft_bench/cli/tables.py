"""Report tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from rocoft_bench.analysis.table import Highlight, Table
from rocoft_bench.cli.columns import ShownColumn, ShownRow, print_blocks
from rocoft_bench.cli.console import TerminalConsole, width_of_output
from rocoft_bench.report.writing.cleaning import cleaned
from rocoft_bench.report.writing.texts import Line, caption, heading, lines

PIPE_WIDTH = 200
"""Columns of what is not a terminal."""

INDENT = "  "
STYLES: dict[Highlight | None, str] = {"best": "bold", "second": "underline", None: ""}


def print_tables(tables: Sequence[Table], console: TerminalConsole | None = None) -> None:
    """Print each table with its conditions and notes."""
    console = console or TerminalConsole(width=width_of_output(PIPE_WIDTH))
    for table in map(cleaned, tables):
        console.print(Text(f"\n{caption(table)}", style="bold"))
        holds = " · ".join(f"{name}: {value}" for name, value in table.conditions.items())
        if holds:
            console.print(Text(holds, style="dim"))
        columns = [ShownColumn(heading(column), is_number=bool(column.parts)) for column in table.columns]
        print_blocks(console, "method", columns, list(_rows(table)))
        for note in table.notes:
            console.print(Text(f"- {note}", style="dim"))


def _rows(table: Table) -> Iterator[ShownRow]:
    """The lines of each row, after the name of each model where there are several."""
    for model in table.models:
        if len(table.models) > 1:
            yield ShownRow(Text(model, style="bold"), [Text() for _ in table.columns])
        for row in table.of_model(model):
            yield from map(_row, lines(row, table.columns))


def _row(line: Line) -> ShownRow:
    cells = [Text.assemble(*((piece.text, STYLES[piece.highlight]) for piece in cell)) for cell in line.cells]
    if line.is_result:
        return ShownRow(Text(line.title), cells)
    return ShownRow(Text(INDENT + line.title), cells, style="dim", of_cells=True)
