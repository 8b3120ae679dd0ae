"""Report tables on the terminal and as Markdown."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from rocoft_bench.report import Table


def print_tables(tables: list[Table]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=200)
    for table in tables:
        console.print(Text(f"\n{table.title}"), style="bold")
        rich_table = RichTable(box=None, pad_edge=False)
        for index, name in enumerate(table.columns):
            rich_table.add_column(name, justify="left" if index == 0 else "right")
        for row in table.rows:
            rich_table.add_row(*map(Text, row.cells), style="dim" if row.from_paper else None)
        console.print(rich_table)
        for note in table.notes:
            console.print(Text(f"- {note}"), style="dim")


def as_markdown(tables: list[Table]) -> str:
    parts = []
    for table in tables:
        lines = [f"### {table.title}", "", _line(table.columns), _line(["---"] * len(table.columns))]
        lines += [_line(row.cells) for row in table.rows]
        parts.append("\n".join([*lines, "", *(f"- {note}" for note in table.notes)]))
    return "\n\n".join(parts) + "\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
