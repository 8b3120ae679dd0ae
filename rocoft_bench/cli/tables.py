"""Report tables on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rocoft_bench.analysis.table import Column, Highlight, Table
from rocoft_bench.cli.console import TerminalConsole
from rocoft_bench.report.writing.cleaning import cleaned
from rocoft_bench.report.writing.texts import Line, Piece, caption, heading, lines

PIPE_WIDTH = 200
"""Columns of what is not a terminal."""

WRAP_WIDTH = 40
"""Names and texts longer than this are wrapped where a table would not fit otherwise; numbers never are."""

GAP = 2
INDENT = "  "
STYLES: dict[Highlight | None, str] = {"best": "bold", "second": "underline", None: ""}


Body = list[tuple[Text, list[Text], str]]
"""Of each line its title, its cells and its style."""


def print_tables(tables: Sequence[Table], console: Console | None = None) -> None:
    """Print each table; one that is too wide in several blocks of columns, each with the methods."""
    console = console or _console()
    for table in map(cleaned, tables):
        console.print(Text(f"\n{caption(table)}", style="bold"))
        holds = " · ".join(f"{name}: {value}" for name, value in table.conditions.items())
        if holds:
            console.print(Text(holds, style="dim"))
        for index, block in enumerate(_blocks(table, console.width)):
            if index:
                console.print()
            console.print(block)
        for note in table.notes:
            console.print(Text(f"- {note}", style="dim"))


def _console() -> Console:
    console = TerminalConsole()
    return console if console.is_terminal else TerminalConsole(width=PIPE_WIDTH)


def _blocks(table: Table, width: int) -> Iterator[RichTable]:
    """The table, or parts of it with as many columns as fit the width."""
    body = _body(table, table.columns)
    room = width - min(max([_width(title) for title, _, _ in body], default=0), WRAP_WIDTH)
    widths = _widths(table.columns, body, room)
    for start, end in _spans(widths, room):
        columns = table.columns[start:end]
        yield _block(columns, widths[start:end], _body(table, columns))


def _widths(columns: Sequence[Column], body: Body, room: int) -> list[int]:
    """Of each column; headings are wrapped only where the table does not fit otherwise."""
    needed = [_needed(column, [cells[index] for _, cells, _ in body]) for index, column in enumerate(columns)]
    whole = [max(width, cell_len(heading(column))) for width, column in zip(needed, columns, strict=True)]
    return whole if sum(whole) + GAP * len(whole) <= room else needed


def _body(table: Table, columns: Sequence[Column]) -> Body:
    """What stands in some columns, after the name of each model where there are several."""
    body: Body = []
    for model in table.models:
        if len(table.models) > 1:
            body.append((Text(model, style="bold"), [Text() for _ in columns], ""))
        body += [_line(line) for row in table.of_model(model) for line in lines(row, columns)]
    return body


def _line(line: Line) -> tuple[Text, list[Text], str]:
    title = Text(line.title if line.is_result else INDENT + line.title)
    return title, [_text(pieces) for pieces in line.cells], "" if line.is_result else "dim"


def _text(pieces: Sequence[Piece]) -> Text:
    return Text.assemble(*((piece.text, STYLES[piece.highlight]) for piece in pieces))


def _needed(column: Column, cells: Sequence[Text]) -> int:
    """The width that a column cannot do without: its numbers, whole words of its heading, and some of its texts."""
    shown = max(map(_width, cells), default=0)
    word = max(map(cell_len, heading(column).split()), default=0)
    return max(min(word, WRAP_WIDTH), shown if column.parts else min(shown, WRAP_WIDTH))


def _width(text: Text) -> int:
    return cell_len(text.plain)


def _spans(widths: Sequence[int], room: int) -> list[tuple[int, int]]:
    """First and after-last of the columns that stand together; each span has at least one."""
    spans, start, used = [], 0, 0
    for index, width in enumerate(widths):
        used += GAP + width
        if used > room and index > start:
            spans.append((start, index))
            start, used = index, GAP + width
    return [*spans, (start, len(widths))]


def _block(columns: Sequence[Column], widths: Sequence[int], body: Body) -> RichTable:
    block = RichTable(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    block.add_column("method", overflow="fold")
    for column, width in zip(columns, widths, strict=True):
        if column.parts:
            block.add_column(Text(heading(column)), justify="right", width=width, overflow="fold")
        else:
            block.add_column(Text(heading(column)), overflow="fold")
    for title, cells, style in body:
        block.add_row(title, *cells, style=style)
    return block
