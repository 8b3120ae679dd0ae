"""Tables in the width of the terminal: wrapped, and in blocks of columns, where they are wider."""

import io
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

from rocoft_bench.cli.console import TerminalConsole, printable, width_of_output

GAP = 2
WRAP_WIDTH = 40
"""Names and texts longer than this, or than a third of the terminal, are wrapped where that saves room."""

BENEATH = "dim"
"""The style of a row that belongs to the one above it: a block in which it is empty goes without it."""


def plain_table(name_title: str) -> Table:
    """A table without lines, its first column for names; more are to be added, justified "right" for numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    table.add_column(name_title, overflow="fold")
    return table


def aligned(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Rows, the first of titles, in a width, by default that of the output; in a pipe each of them is one line."""
    titles, *body = [[Text(printable(cell)) for cell in row] for row in rows]
    table = plain_table(rows[0][0])
    for title in titles[1:]:
        table.add_column(title)
    for row in body:
        table.add_row(*row)
    output = io.StringIO()
    print_blocks(TerminalConsole(file=output, width=width or width_of_output()), table)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def print_blocks(console: TerminalConsole, table: Table) -> None:
    """Print a `plain_table` in as many blocks as the width needs; each has the names and some of the columns."""
    wrap = min(WRAP_WIDTH, console.width // 3)
    names, *columns = table.columns
    room = console.width - min(max(map(_width, [names.header, *names.cells])), wrap)
    widths = _widths(columns, room, wrap)
    for start, end in _spans(widths, room):
        if start:
            console.print()
        console.print(_block(table, columns[start:end], widths[start:end]))


def _widths(columns: Sequence[Column], room: int, wrap: int) -> list[int]:
    """Of each column; titles are wrapped only where the rows do not fit otherwise."""
    needed = [_needed(column, wrap) for column in columns]
    whole = [max(width, _width(column.header)) for width, column in zip(needed, columns, strict=True)]
    return whole if sum(whole) + GAP * len(whole) <= room else needed


def _needed(column: Column, wrap: int) -> int:
    """The width that a column cannot do without: its numbers, whole words of its title, and some of its texts."""
    shown = max(map(_width, column.cells), default=0)
    word = max(map(cell_len, str(column.header).split()), default=0)
    return max(min(word, wrap), shown if column.justify == "right" else min(shown, wrap))


def _width(text: object) -> int:
    return cell_len(str(text))


def _spans(widths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """First and after-last of the columns that stand together; each span has at least one."""
    start = used = 0
    for index, width in enumerate(widths):
        used += GAP + width
        if used > room and index > start:
            yield start, index
            start, used = index, GAP + width
    yield start, len(widths)


def _block(table: Table, columns: Sequence[Column], widths: Sequence[int]) -> Table:
    block = plain_table(str(table.columns[0].header))
    for column, width in zip(columns, widths, strict=True):
        is_number = column.justify == "right"
        block.add_column(column.header, justify=column.justify, overflow="fold", width=width if is_number else None)
    shown = zip(table.columns[0].cells, *(column.cells for column in columns), strict=True)
    for row, (name, *cells) in zip(table.rows, shown, strict=True):
        if any(cells) or row.style != BENEATH:
            block.add_row(name, *cells, style=row.style)
    return block
