"""Rows as columns on a terminal or in a pipe: wrapped, and in blocks of columns, where the terminal is narrower."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from rocoft_bench.cli.console import TerminalConsole, printable, width_of_output

GAP = 2
WRAP_WIDTH = 40
"""Names and texts longer than this, or than a third of the terminal, are wrapped where that saves room."""


@dataclass(frozen=True)
class ShownColumn:
    """A number stands on the right and is never wrapped."""

    title: str
    is_number: bool = False


@dataclass(frozen=True)
class ShownRow:
    """name: shown in every block. of_cells: the row is left out of a block in which all its cells are empty."""

    name: Text
    cells: Sequence[Text]
    style: str = ""
    of_cells: bool = False


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows, the first of titles, in the width of the output; in a pipe each of them is one line."""
    titles, *texts = rows
    shown = [ShownRow(Text(printable(name)), [Text(printable(cell)) for cell in cells]) for name, *cells in texts]
    output = io.StringIO()
    console = TerminalConsole(file=output, width=width_of_output())
    print_blocks(console, titles[0], [ShownColumn(title) for title in titles[1:]], shown)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def print_blocks(
    console: TerminalConsole, name_title: str, columns: Sequence[ShownColumn], rows: Sequence[ShownRow]
) -> None:
    """Print the rows, in as many blocks as the width needs; each block has the names and some of the columns."""
    wrap = min(WRAP_WIDTH, console.width // 3)
    room = console.width - min(max([cell_len(name_title), *(_width(row.name) for row in rows)]), wrap)
    widths = _widths(columns, rows, room, wrap)
    for start, end in _spans(widths, room):
        if start:
            console.print()
        console.print(_block(name_title, columns, rows, widths, range(start, end)))


def _widths(columns: Sequence[ShownColumn], rows: Sequence[ShownRow], room: int, wrap: int) -> list[int]:
    """Of each column; titles are wrapped only where the rows do not fit otherwise."""
    needed = [_needed(column, [row.cells[index] for row in rows], wrap) for index, column in enumerate(columns)]
    whole = [max(width, cell_len(column.title)) for width, column in zip(needed, columns, strict=True)]
    return whole if sum(whole) + GAP * len(whole) <= room else needed


def _needed(column: ShownColumn, cells: Sequence[Text], wrap: int) -> int:
    """The width that a column cannot do without: its numbers, whole words of its title, and some of its texts."""
    shown = max(map(_width, cells), default=0)
    word = max(map(cell_len, column.title.split()), default=0)
    return max(min(word, wrap), shown if column.is_number else min(shown, wrap))


def _width(text: Text) -> int:
    return cell_len(text.plain)


def _spans(widths: Sequence[int], room: int) -> Iterator[tuple[int, int]]:
    """First and after-last of the columns that stand together; each span has at least one."""
    start = used = 0
    for index, width in enumerate(widths):
        used += GAP + width
        if used > room and index > start:
            yield start, index
            start, used = index, GAP + width
    yield start, len(widths)


def _block(
    name_title: str, columns: Sequence[ShownColumn], rows: Sequence[ShownRow], widths: Sequence[int], places: range
) -> Table:
    block = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="")
    block.add_column(name_title, overflow="fold")
    for place in places:
        column = columns[place]
        width = widths[place] if column.is_number else None
        justify: JustifyMethod = "right" if column.is_number else "left"
        block.add_column(Text(column.title), overflow="fold", justify=justify, width=width)
    for row in rows:
        cells = [row.cells[place] for place in places]
        if any(cells) or not row.of_cells:
            block.add_row(row.name, *cells, style=row.style)
    return block
