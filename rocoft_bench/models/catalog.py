"""The models of the paper by hub id, with pinned revisions, and the names under which they can be asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownModel:
    """`paper_name` is the row of the paper's tables; `revision` the commit that is loaded by default."""

    alias: str
    hub_id: str
    revision: str
    paper_name: str | None
    note: str


EMBEDDED = "demo-minilm"

KNOWN_MODELS = (
    KnownModel(
        "roberta-base",
        "FacebookAI/roberta-base",
        "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
        "roberta-base",
        "Tables 1 and 8",
    ),
    KnownModel(
        "roberta-large",
        "FacebookAI/roberta-large",
        "722cf37b1afa9454edce342e7895e588b6ff1d59",
        "roberta-large",
        "Table 6",
    ),
    KnownModel(EMBEDDED, "sentence-transformers/all-MiniLM-L6-v2", "embedded", None, "from the `demo` extra, no hub"),
)


def known_model(name: str) -> KnownModel | None:
    """The catalogue's entry for an alias or a hub id, if it has one."""
    return next((model for model in KNOWN_MODELS if name in (model.alias, model.hub_id)), None)
