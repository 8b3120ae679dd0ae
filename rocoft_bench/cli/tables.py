"""Report tables on the terminal."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.table import Table as RichTable
from rich.text import Text

from rocoft_bench.analysis.table import Highlight, Table
from rocoft_bench.cli.columns import BENEATH, plain_table, print_blocks
from rocoft_bench.cli.console import TerminalConsole, width_of_output
from rocoft_bench.report.writing.cleaning import readable
from rocoft_bench.report.writing.texts import caption, heading, lines, place

PIPE_WIDTH = 200
"""Columns of what is not a terminal."""

LONG = 120
"""Characters of a condition that is told once."""

INDENT = "  "
STYLES: dict[Highlight | None, str] = {"best": "bold", "second": "underline", None: ""}


def print_tables(tables: Sequence[Table], console: TerminalConsole | None = None, names: str = "method") -> None:
    """Print each table with its conditions and notes, the long ones of an earlier table not again. names: the title of
    what rows are called by.
    """
    console = console or TerminalConsole(width=width_of_output(PIPE_WIDTH))
    told: dict[str, str] = {}
    for table in map(readable, tables):
        console.print(Text(f"\n{caption(table)}", style="bold"))
        where = place(table) or caption(table)
        if holds := " · ".join(_conditions(table, told, where)):
            console.print(Text(holds, style="dim"))
        print_blocks(console, _rich_table(table, names))
        for note in _notes(table, told, where):
            console.print(Text(f"- {note}", style="dim"))


def _conditions(table: Table, told: dict[str, str], where: str) -> Iterator[str]:
    for name, value in table.conditions.items():
        text = f"{name}: {value}"
        known = told.setdefault(text, where)
        yield f"{name}: as of {known}" if known != where and len(text) > LONG else text


def _notes(table: Table, told: dict[str, str], where: str) -> list[str]:
    """Those that no table has told yet, and how many of them which table has."""
    known = {note: told.setdefault(note, where) for note in table.notes}
    counts = Counter(first for first in known.values() if first != where)
    again = [f"{count} notes as of {first}" for first, count in counts.items() if count > 1]
    return [*(note for note, first in known.items() if first == where or counts[first] == 1), *again]


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
