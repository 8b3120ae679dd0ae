"""Which records may meet in a table or a cell, and how groups of them are named and spoken of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rocoft_bench.analysis.records import Run, Stored
from rocoft_bench.analysis.table import Table
from rocoft_bench.runs import EfficiencyRecord, KernelRecord

T = TypeVar("T")
S = TypeVar("S", bound=Run | Stored[KernelRecord] | Stored[EfficiencyRecord])

Facts = tuple[Hashable, ...]

UNKNOWN = "not recorded"

PAPER_MODEL = "roberta-base"
"""The model of the paper's kernels and of its Table 8."""


def alike(items: Iterable[T], facts: Callable[[T], Facts]) -> list[list[T]]:
    """Items in groups that agree in their facts. None is a fact that is not known, as of a failure: it contradicts
    nothing.
    """
    groups: list[tuple[Facts, list[T]]] = []
    for item in sorted(items, key=lambda item: facts(item).count(None)):
        own = facts(item)
        same = next((group for known, group in groups if agree(known, own)), None)
        groups.append((own, [item])) if same is None else same.append(item)
    return [group for _, group in groups]


def agree(one: Facts, other: Facts) -> bool:
    """Whether no fact that both know contradicts."""
    return all(a == b for a, b in zip(one, other, strict=True) if a is not None and b is not None)


def latest(items: Iterable[S]) -> list[S]:
    """One record for each seed: the latest of those that are ok, else the latest."""
    ordered = sorted(items, key=lambda item: (item.record.status == "ok", item.record.finished_at))
    chosen = {item.record.seed: item for item in ordered}
    return [chosen[seed] for seed in sorted(chosen)]


def model_name(model: Mapping[str, Any]) -> str:
    """The paper's name of a record's model, or its own without the folder or owner."""
    return str(model.get("paper_name") or model["name"].rstrip("/").rpartition("/")[2])


def model_facts(model: Mapping[str, Any]) -> Facts:
    """What tells models apart: name and weights."""
    return (model_name(model), model.get("weights_sha256") or model.get("revision"))


def model_text(models: Iterable[Mapping[str, Any]]) -> str:
    """The models' names and origins."""

    def text(model: Mapping[str, Any]) -> str:
        name = model_name(model)
        origin = " @ ".join(filter(None, [model.get("id"), str(model.get("revision") or "")[:10]]))
        return f"{name} ({origin})" if origin not in ("", name) else name

    return listed(map(text, models))


def table_key(base: str, model: str) -> str:
    """The key of a table of one model; the base alone for the paper's."""
    return base if model == PAPER_MODEL else re.sub(r"[^A-Za-z0-9.]+", "-", f"{base}-{model}")


def reference_title(model: str) -> str:
    return "paper" if model == PAPER_MODEL else f"paper ({PAPER_MODEL})"


def stand_in_notes(model: str) -> list[str]:
    """A note on references that are of another model."""
    note = f"{model} is not the paper's model; {PAPER_MODEL}'s numbers stand beside it, without differences"
    return [] if model == PAPER_MODEL else [note]


def differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each of some settings what is not the same in all, e.g. "alpha=8, rank=4"; "" if nothing is."""
    keys = sorted({key for own in settings for key in own})
    unlike = [key for key in keys if len({json.dumps(own.get(key), sort_keys=True) for own in settings}) > 1]
    return [", ".join(f"{key}={own[key]}" for key in unlike if key in own) for own in settings]


def listed(texts: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(texts))


def hardware(provenance: Mapping[str, Any] | None) -> str:
    """The machine that a record was made on, in short."""
    facts = (provenance or {}).get("hardware")
    if not isinstance(facts, dict):
        return UNKNOWN
    gpus = facts.get("gpus")
    if isinstance(gpus, list) and gpus:
        return listed(f"{gpus.count(name)} × {name}" for name in gpus)
    if "cpu_count" not in facts:
        return UNKNOWN
    return f"{facts['cpu_count']} CPU cores ({facts.get('cpu')}), threads a run: {facts.get('torch_threads')}"


def machines(items: Iterable[S]) -> str:
    """The hardware that records were made on, from the provenance beside them."""
    return "; ".join(dict.fromkeys(hardware(item.provenance) for item in items))


def seeds(items: Iterable[S]) -> str:
    return ", ".join(map(str, sorted({item.record.seed for item in items})))


def said(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """What is said of whom, e.g. "sst-2, mr: only 100 rows", from pairs of whom and what; the same is said once."""
    names: dict[str, dict[str, None]] = {}
    for name, text in pairs:
        names.setdefault(text, {})[name] = None
    return [f"{', '.join(own)}: {text}" for text, own in names.items() if text]


def repeats(count: int, kind: str) -> list[str]:
    """A note on records that are left out because they repeat others; `kind` in the plural."""
    why = "another one with the same settings and seed is later, or finished where they are not"
    return [f"{kind} left out because {why}: {count}"] if count else []


def with_unique_keys(tables: Iterable[Table]) -> list[Table]:
    """The tables, a number added to each key that an earlier one has."""
    found: dict[str, Table] = {}
    for table in tables:
        key, number = table.key, 1
        while key in found:
            number += 1
            key = f"{table.key}-{number}"
        found[key] = replace(table, key=key)
    return list(found.values())
