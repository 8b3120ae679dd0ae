"""The model card of a run: `README.md` beside its trained values, in the format of the Hugging Face hub.

Metadata in YAML for the hub's search and leaderboards, then a text from which a reader can use, judge and repeat the
run (`card.md.j2`). All of it is from the run's own files; nothing is guessed.
"""

import re
from pathlib import Path
from typing import Any

from rocoft_bench.experiment.card.card_context import CardContext, Form, form_of
from rocoft_bench.experiment.card.metadata import SOURCES, metadata
from rocoft_bench.experiment.card.portable import without_machine_paths
from rocoft_bench.models.pretrained import NORM_EPS_FIELDS

CARD = "README.md"
"""Name of a card's file."""

TEMPLATE = Path(__file__).with_name("card.md.j2")


def model_card(context: CardContext) -> str:
    """The text of a run's card, in which no path of this machine and no access token is left."""
    from huggingface_hub import ModelCard

    words: dict[str, Any] = {"context": context, "plain": plain, "code": code, "block": block, "repr": repr}
    names: dict[str, Any] = {"sources": SOURCES, "norm_eps_fields": NORM_EPS_FIELDS}
    card = ModelCard.from_template(metadata(context), str(TEMPLATE), **words, **names)
    return str(card)


def plain(text: object) -> str:
    """Text without any mark-up in it, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", " ".join(str(text).split()))


def code(value: object) -> str:
    """A value in a code span that also stands in a table."""
    text = " ".join(str(value).split()) or " "
    fence = _fence(text, 1)
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def block(text: str, language: str) -> str:
    """A fenced block of code."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _fence(text: str, least: int) -> str:
    """Backticks, more than any row of them in a text, so that none can close the fence."""
    return "`" * max([least, *(len(row) + 1 for row in re.findall("`+", text))])


__all__ = ["CARD", "CardContext", "Form", "form_of", "model_card", "without_machine_paths"]
