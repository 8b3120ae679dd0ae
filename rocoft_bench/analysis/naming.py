"""How models, machines and settings are named, and how many remarks become few."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any

from rocoft_bench.analysis.groups import grouped

UNKNOWN = "not recorded"

NUMBER = re.compile(r"(?<![\w.-])\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w-])")
"""In a text, and no part of a word such as sst-2."""

MOST_LISTED = 3
"""Numbers that are listed; of more only the smallest and the largest are said."""

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


def by_names(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Texts with the names of those that have them, e.g. "sst-2, mr: only 100 examples", each once."""
    names = grouped((text, name) for name, text in pairs)
    return [f"{_joined(own)}: {text}" for text, own in names.items() if text]


def _joined(names: Iterable[str]) -> str:
    """Each once, and once those that are "on" several tasks: "LoRA on rte and mrpc, FT on mrpc"."""
    parts = (name.partition(" on ") for name in dict.fromkeys(names))
    tasks = grouped((whom, task) for whom, _, task in parts)
    return ", ".join(" on ".join(filter(None, [whom, " and ".join(filter(None, own))])) for whom, own in tasks.items())


def merge_notes(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """The same, but those that differ in numbers only are one, with what each name has of them: "the first … of …
    examples are used: mr (100, 2,000); sst-5, trec (50, 2,210)".
    """
    alike = grouped((NUMBER.sub("0", text), (name, text)) for name, text in pairs)
    return [
        note
        for own in alike.values()
        for note in ([_with_numbers(own)] if len({text for _, text in own}) > 1 else by_names(own))
    ]


def _with_numbers(pairs: Sequence[tuple[str, str]]) -> str:
    """A note with gaps for the numbers in which it differs, and after it those of each name."""
    found = [(name, NUMBER.findall(text)) for name, text in pairs]
    differ = [len(set(numbers)) > 1 for numbers in zip(*(numbers for _, numbers in found), strict=True)]
    gaps = iter(differ)
    text = NUMBER.sub(lambda number: "…" if next(gaps) else number[0], pairs[0][1])
    values = grouped((name, ", ".join(compress(numbers, differ))) for name, numbers in found)
    names = grouped((_listed(own), name) for name, own in values.items())
    return f"{text}: {'; '.join(f'{_joined(own)} ({said})' for said, own in names.items())}"


def _listed(values: Sequence[str]) -> str:
    """Several values of one name: "4, 9", or of many single numbers both ends."""
    found = sorted(set(values), key=lambda value: (len(value), value))
    if len(found) > MOST_LISTED and not any(", " in value for value in found):
        return f"{found[0]} to {found[-1]}"
    return (" or " if any(", " in value for value in found) else ", ").join(found)


def in_examples(text: str) -> str:
    """What a record says of examples; those made by earlier versions call them rows."""
    return re.sub(r"\b(training|evaluation|validation|test) rows\b", r"\1 examples", text)


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
