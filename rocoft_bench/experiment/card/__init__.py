"""The model card of a run: `README.md` beside its trained values, in the format of the Hugging Face hub.

Metadata in YAML for the hub's search and leaderboards, then a text from which a reader can use, judge and repeat the
run (`card.md.j2`). All of it is from the run's own files; nothing is guessed.
"""

from pathlib import Path
from typing import Any

from rocoft_bench.experiment.card.card_context import CardContext, Form, form_of
from rocoft_bench.experiment.card.card_markup import block, code, plain
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


__all__ = ["CARD", "CardContext", "Form", "form_of", "model_card", "without_machine_paths"]
