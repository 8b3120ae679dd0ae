"""Report tables on the terminal."""

from collections.abc import Sequence

from rich.table import Table as RichTable
from rich.text import Text

from rocoft_bench.analysis.table import Highlight, Table
from rocoft_bench.cli.columns import BENEATH, plain_table, print_blocks
from rocoft_bench.cli.console import TerminalConsole, width_of_output
from rocoft_bench.report.writing.cleaning import cleaned
from rocoft_bench.report.writing.texts import caption, heading, lines

PIPE_WIDTH = 200
"""Columns of what is not a terminal."""

INDENT = "  "
STYLES: dict[Highlight | None, str] = {"best": "bold", "second": "underline", None: ""}


def print_tables(tables: Sequence[Table], console: TerminalConsole | None = None, names: str = "method") -> None:
    """Print each table with its conditions and notes. names: the title of what rows are called by."""
    console = console or TerminalConsole(width=width_of_output(PIPE_WIDTH))
    for table in map(cleaned, tables):
        console.print(Text(f"\n{caption(table)}", style="bold"))
        holds = " · ".join(f"{name}: {value}" for name, value in table.conditions.items())
        if holds:
            console.print(Text(holds, style="dim"))
        print_blocks(console, _rich_table(table, names))
        for note in table.notes:
            console.print(Text(f"- {note}", style="dim"))


def _rich_table(table: Table, names: str) -> RichTable:
    """The lines of each row, after the name of each model where there are several."""
    shown = plain_table(names)
    for column in table.columns:
        shown.add_column(Text(heading(column)), justify="right" if column.parts else "left")
    for model in table.models:
        if len(table.models) > 1:
            shown.add_row(Text(model, style="bold"), *(Text() for _ in table.columns))
        for line in [line for row in table.of_model(model) for line in lines(row, table.columns)]:
            cells = [Text.assemble(*((piece.text, STYLES[piece.highlight]) for piece in cell)) for cell in line.cells]
            if line.is_result:
                shown.add_row(Text(line.title), *cells)
            else:
                shown.add_row(Text(INDENT + line.title), *cells, style=BENEATH)
    return shown
