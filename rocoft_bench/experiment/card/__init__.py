"""The model card of a run: `README.md` beside its trained values, in the format of the Hugging Face hub.

Metadata in YAML for the hub's search and leaderboards, then a text from which a reader can use, judge and repeat the
run. All of it is from the run's own files; nothing is guessed.
"""

from __future__ import annotations

from rocoft_bench.experiment.card.facts import Facts, Form, form_of
from rocoft_bench.experiment.card.metadata import metadata
from rocoft_bench.experiment.card.portable import without_machine_paths
from rocoft_bench.experiment.card.text import body

CARD = "README.md"
"""Name of a card's file."""


def model_card(facts: Facts) -> str:
    """The text of a run's card, in which no path of this machine and no access token is left."""
    return f"---\n{metadata(facts).to_yaml()}\n---\n\n{body(facts)}"


__all__ = ["CARD", "Facts", "Form", "form_of", "model_card", "without_machine_paths"]
