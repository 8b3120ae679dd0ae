"""The one exception that means "the user can fix this": the CLI prints its message and exits with code 2."""

import difflib
from collections.abc import Iterable

MOST_NAMES = 100
"""That a message lists."""


class UserError(Exception):
    """Bad input. The message says what was given, what is allowed and how to fix it, a line for each problem."""


def suggest(given: object, allowed: Iterable[str]) -> str:
    """Say which values are allowed and, where one is close to `given`, name it.

    >>> suggest("rtee", ["rte", "mrpc"])
    'did you mean "rte"? Allowed: mrpc, rte'
    >>> suggest("LoRA", ["lora", "vera"])
    'did you mean "lora"? Allowed: lora, vera'
    """
    names = sorted(allowed)
    by_lower_case = {name.lower(): name for name in names}
    close = difflib.get_close_matches(str(given).lower(), by_lower_case, n=1, cutoff=0.5)
    hint = f'did you mean "{by_lower_case[close[0]]}"? ' if close else ""
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"{hint}Allowed: {', '.join(names[:MOST_NAMES])}{more}"


def reason(error: BaseException, most: int = 300) -> str:
    """What an error of a library or the system says, for a message: on one line, or its kind where it says nothing.

    >>> reason(ValueError("not\\n  this")), reason(FileNotFoundError(2, "No such file", "a.txt")), reason(KeyError())
    ('not this', 'No such file', 'KeyError')
    """
    said = str(getattr(error, "strerror", None) or error)
    return shortened(" ".join(said.split()) or type(error).__name__, most)


LONGEST_SOURCE = 500
"""Of a message, where the name of the file that is wrong must not be cut."""


def shortened(text: str, most: int = 80) -> str:
    """The text for a message: its beginning where it is too long, and escapes for what no terminal shows.

    >>> shortened("one\\ntwo \\x1b[31mthree", 12)
    'one\\\\ntwo \\\\x1b[31…'
    """
    shown = text if len(text) <= most else f"{text[:most]}…"
    if shown.isprintable():
        return shown
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in shown)
