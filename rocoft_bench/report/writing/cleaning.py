"""What every writer starts from: names, notes and labels come from users and may hold anything."""

import unicodedata
from dataclasses import fields, replace
from typing import Any

from rocoft_bench.analysis.table import Cell, Column, Row, Table, with_references_once

REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that show a text in another order than it has."""


def readable(table: Table) -> Table:
    """What is shown to readers: the table, cleaned, what several rows stand beside said once."""
    return with_references_once(cleaned(table))


def cleaned(table: Table) -> Table:
    """The table with each of its texts on one line, and without characters that command a terminal or that no file
    can hold. Keys, by which cells are found, stay as they are.
    """
    result: Table = _cleaned(table)
    return replace(result, conditions={one_line(name): text for name, text in result.conditions.items()})


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return one_line(value)
        case list() | tuple():
            return type(value)(map(_cleaned, value))
        case dict():
            return {name: _cleaned(inner) for name, inner in value.items()}
        case Table() | Row() | Column() | Cell():
            names = [field.name for field in fields(value) if field.name != "key"]
            return replace(value, **{name: _cleaned(getattr(value, name)) for name in names})
    return value


def one_line(text: str) -> str:
    """A text, such as a user's, made fit to be printed on a line."""
    harmless = text if text.isprintable() else "".join(map(_harmless, text))
    return " ".join(harmless.split())


def _harmless(character: str) -> str:
    commands = unicodedata.category(character) in ("Cc", "Cs") and not character.isspace()
    return "\N{REPLACEMENT CHARACTER}" if commands or character in REORDERING else character
