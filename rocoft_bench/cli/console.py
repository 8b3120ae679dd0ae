"""The one place where text reaches the terminal: names, data and messages may hold anything, and command nothing."""

import io
import os
import re
import sys
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.text import Text

COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but newline and tab, what turns the direction of text, and bytes that are not UTF-8."""

UNWRAPPED = 10_000
"""Columns of what is not a terminal: lines are as long as they come."""


def printable(text: str) -> str:
    """The text with everything escaped that a terminal would obey, or could not show."""
    return COMMANDS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """Print a result."""
    print(printable(text))


def complain(text: str) -> None:
    """Print what went wrong, beside the results; nowhere if that cannot be written either."""
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


class TerminalConsole(Console):
    """Rich's console for text of any origin: no markup, no emoji codes, nothing that a terminal obeys."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def width_of_output(of_a_pipe: int = UNWRAPPED) -> int:
    """Columns of the terminal. What is none takes lines as long as they come, whatever COLUMNS says: programs read
    them, and some inherit COLUMNS without having a terminal.
    """
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return TerminalConsole().width if is_terminal else of_a_pipe


def show_what_can_be_shown() -> None:
    """Let a terminal that knows few characters get the others escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def finish_output() -> None:
    """Write what is still to be written. Raises: OSError if the results cannot be; what is left is then dropped."""
    for stream in (sys.stderr, sys.stdout):
        if stream is None:  # its file descriptor is closed
            continue
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if stream is sys.stdout:
                raise
