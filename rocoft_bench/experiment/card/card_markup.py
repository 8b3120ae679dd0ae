"""Markdown in which names and values from users stay what they are."""

import re


def plain(text: object) -> str:
    """Text without any mark-up in it, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", " ".join(str(text).split()))


def code(value: object) -> str:
    """A value in a code span that also stands in a table."""
    text = " ".join(str(value).split()) or " "
    fence = _longer_than("`", text, 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def block(text: str, language: str) -> str:
    """A fenced block of code."""
    fence = _longer_than("`", text, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _longer_than(mark: str, text: str, least: int) -> str:
    """A fence that no row of the mark in a text can close."""
    longest = max((len(row) for row in re.findall(f"{re.escape(mark)}+", text)), default=0)
    return mark * max(least, longest + 1)
