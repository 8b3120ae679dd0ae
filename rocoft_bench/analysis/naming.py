"""How models, machines and settings are named, and how many remarks become few."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNKNOWN = "not recorded"

PAPER_MODEL = "roberta-base"
"""The model of the paper's kernels and of its Table 8."""


def model_name(model: Mapping[str, Any]) -> str:
    """The paper's name of a record's model, or its own without the folder or owner."""
    return str(model.get("paper_name") or model["name"].rstrip("/").rpartition("/")[2])


def model_key(model: Mapping[str, Any]) -> tuple[str, str | None]:
    """What tells a record's model from others: name and weights."""
    return (model_name(model), model.get("weights_sha256") or model.get("revision"))


def model_text(model: Mapping[str, Any]) -> str:
    """The model's name and origin."""
    name = model_name(model)
    origin = " @ ".join(filter(None, [model.get("id"), str(model.get("revision") or "")[:10]]))
    return f"{name} ({origin})" if origin not in ("", name) else name


def hardware(provenance: Mapping[str, Any] | None) -> str:
    """The machine that a record was made on, in short."""
    facts = (provenance or {}).get("hardware")
    if not isinstance(facts, dict):
        return UNKNOWN
    gpus = facts.get("gpus")
    if isinstance(gpus, list) and gpus:
        return join_unique(f"{gpus.count(name)} × {name}" for name in gpus)
    if "cpu_count" not in facts:
        return UNKNOWN
    return f"{facts['cpu_count']} CPU cores ({facts.get('cpu')}), threads a run: {facts.get('torch_threads')}"


def join_unique(texts: Iterable[str | None], separator: str = ", ") -> str:
    """The texts that are not empty, each once."""
    return separator.join(dict.fromkeys(filter(None, texts)))


def merge_notes(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Notes with the names of those that have them, e.g. "sst-2, mr: only 100 rows", each once."""
    names: dict[str, list[str]] = {}
    for name, text in pairs:
        names.setdefault(text, []).append(name)
    return [f"{join_unique(own)}: {text}" for text, own in names.items() if text]


def slug(text: str) -> str:
    """The text, fit for keys of tables."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)


def table_key(base: str, model: str) -> str:
    """The key of a table of one model; the base alone for the paper's."""
    return base if model == PAPER_MODEL else slug(f"{base}-{model}")


def reference_title(model: str) -> str:
    return "paper" if model == PAPER_MODEL else f"paper ({PAPER_MODEL})"


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each of some settings what is not the same in all, e.g. "alpha=8, rank=4"; "" if nothing is."""
    keys = {key for own in settings for key in own}
    unlike = {key for key in keys if len({json.dumps(own.get(key), sort_keys=True) for own in settings}) > 1}
    return [named([key for key in own if key in unlike], own) for own in settings]


def named(keys: Iterable[str], settings: Mapping[str, Any]) -> str:
    """Some of the settings in words; lists with room to break a line."""

    def shown(value: Any) -> str:
        return " + ".join(map(str, value)) if isinstance(value, list) else str(value)

    return ", ".join(f"{key.rpartition('.')[2]}={shown(settings.get(key))}" for key in keys)
