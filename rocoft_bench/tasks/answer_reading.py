"""Reading an answer out of generated text, as LLM-Adapters does and as the authors' notebooks do.

LLM-Adapters: `commonsense_evaluate.py` and `evaluate.py` of AGI-Edgerunners/LLM-Adapters. Notebooks: the folders
`Commonsense_Reasoning` and `Math_Reasoning` of Kowsher/RoCoFT.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_FORMAT_LINE = re.compile(r"Answer format: *([^\s/]+(?:/[^\s/]+)+)\s*\Z")
_NUMBER_OR_FRACTION = re.compile(r"-?\d+\.?\d*(?:/\d+\.?\d*)?")
_GROUPED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?")
_MINUS_SIGN = "\u2212"


def listed_choices(instruction: str) -> tuple[str, ...]:
    """The choices that an instruction ends with; none if it does not say.

    >>> listed_choices("Is water wet? Answer format: true/false")
    ('true', 'false')
    """
    found = _FORMAT_LINE.search(instruction)
    return tuple(found[1].split("/")) if found else ()


def first_choice(text: str, choices: Sequence[str]) -> str | None:
    """The choice that the text names first; None if it names none (LLM-Adapters).

    >>> first_choice("the correct answer is answer2, not answer1", ("answer1", "answer2"))
    'answer2'
    """
    found = re.search("|".join(map(re.escape, choices)), text)
    return found[0] if found else None


def last_number(text: str) -> float | None:
    """The last number of the text, its commas being thousands separators; None if there is none (LLM-Adapters).

    Beyond LLM-Adapters, which reads 5 and 4 there: the minus sign U+2212 is one, and digits on both sides of a slash
    are a fraction.

    >>> last_number("7 * 200 = 1,400. The answer is 1,400.")
    1400.0
    >>> last_number("It is \u22125."), last_number("She ate 3/4.")
    (-5.0, 0.75)
    """
    found = _NUMBER_OR_FRACTION.findall(text.replace(",", "").replace(_MINUS_SIGN, "-"))
    return _quotient(found[-1]) if found else None


def spelt_number(answer: str) -> float | None:
    """The number that the answer of a row spells: a decimal, a fraction, or with commas between thousands.

    >>> spelt_number("1,450"), spelt_number("\u22121/4"), spelt_number("1,45"), spelt_number("1_450")
    (1450.0, -0.25, None, None)
    """
    text = answer.strip().replace(_MINUS_SIGN, "-")
    return _quotient(text.replace(",", "") if _GROUPED_THOUSANDS.fullmatch(text) else text)


def _quotient(text: str) -> float | None:
    """The number that "6", "1.5" or "3/4" spells, if it is finite; "1_450", which Python reads, spells none."""
    if "_" in text:
        return None
    above, slash, below = text.partition("/")
    try:
        number = float(above) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None


@dataclass(frozen=True)
class Published:
    """How a notebook evaluates: with the gold response in the prompt, but for its last tokens.

    cut: tokens taken off the end of the full text. new_tokens: tokens then generated. marker: the answer is read
    between its first and its second place in the text. reader: makes an answer of that; None where it cannot.
    """

    cut: int
    new_tokens: int
    marker: str
    reader: Callable[[str], str | None]

    def answer(self, text: str) -> str | None:
        """The answer in prompt and continuation together. The notebooks skip rows where there is none."""
        pieces = text.split(self.marker)
        return self.reader(pieces[1]) if len(pieces) > 1 else None


def contained_choice(choices: Sequence[str], otherwise: str | None = None) -> Callable[[str], str | None]:
    """A reader for `Published`: the first of the choices, in their own order, that is anywhere in the text."""
    return lambda text: next((choice for choice in choices if choice in text), otherwise)


def first_number(pattern: str, number: type[int] | type[float]) -> Callable[[str], str | None]:
    """A reader for `Published`: the first match of the pattern, as the number that it spells."""

    def read(text: str) -> str | None:
        found = re.search(pattern, text)
        return str(number(found[0])) if found else None

    return read
