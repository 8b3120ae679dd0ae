"""The one exception that means "the user can fix this": the CLI prints it on one line and exits with code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message says what was given, what is allowed and how to fix it, on one line."""


def suggest(given: object, allowed: Iterable[str]) -> str:
    """Say which values are allowed and, where one is close to `given`, name it.

    >>> suggest("rtee", ["rte", "mrpc"])
    'did you mean "rte"? Allowed: mrpc, rte'
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f"{hint}Allowed: {', '.join(names)}"


def shortened(text: str, most: int = 80) -> str:
    """The text, or its beginning where it is too long for a message."""
    return text if len(text) <= most else f"{text[:most]}…"
