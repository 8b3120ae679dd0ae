"""Tables as GitHub-flavoured Markdown."""

import re
from collections.abc import Iterator, Sequence

from rocoft_bench.analysis.table import Highlight, Table
from rocoft_bench.report.writing.cleaning import one_line, readable
from rocoft_bench.report.writing.texts import Piece, caption, heading, lines

MARKS: dict[Highlight | None, str] = {"best": "**{}**", "second": "<u>{}</u>", None: "{}"}

SPECIAL = re.compile(r"[\\`*|<>~$]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])|!(?=\[)|&(?=#?\w+;)")
"""What Markdown or HTML would read as markup: an underscore within a word, say, is none."""

LIST_MARK = re.compile(r"^(\d*)([-+#=.)])")


def as_markdown(tables: Sequence[Table], title: str = "") -> str:
    """One document; best values bold, second best underlined."""
    sections = [f"# {escaped(one_line(title))}"] if title else []
    return "\n\n".join([*sections, *(_section(readable(table)) for table in tables)]) + "\n"


def escaped(text: str) -> str:
    """A text of one line as Markdown shows it, also within a table."""
    return SPECIAL.sub(r"\\\g<0>", text)


def _section(table: Table) -> str:
    holds = [f"- {escaped(name)}: {escaped(value)}" for name, value in table.conditions.items()]
    notes = ["- " + LIST_MARK.sub(r"\1\\\2", escaped(note)) for note in table.notes]
    blocks = [[f"## {escaped(caption(table))}"], holds, list(_table_lines(table)), notes]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _table_lines(table: Table) -> Iterator[str]:
    """The model is a column of its own where there are several."""
    model = ["model"] if len(table.models) > 1 else []
    yield _line([*model, "method", *(escaped(heading(column)) for column in table.columns)])
    yield _line(
        [*("---" for _ in [*model, "method"]), *("---:" if column.parts else "---" for column in table.columns)]
    )
    for row in table.rows:
        for line in lines(row, table.columns):
            names = [escaped(row.model) if line.is_result else "" for _ in model]
            title = escaped(line.title) if line.is_result else f"*{escaped(line.title)}*"
            yield _line([*names, title, *map(_cell, line.cells)])


def _cell(pieces: Sequence[Piece]) -> str:
    return "".join(MARKS[piece.highlight].format(escaped(piece.text)) for piece in pieces)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
