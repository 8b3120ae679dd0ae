"""Which rows two runs have otherwise, where both read them from files that are still as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rocoft_bench.analysis.records import Run
from rocoft_bench.config import Settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.untrusted import parse_yaml

if TYPE_CHECKING:
    from datasets import Dataset

LOCAL = ("data_dir", "file")
"""Kinds of sources that are read again; none is fetched."""


def other_rows(ours: Run, theirs: Run, split: str) -> str | None:
    """How many rows of a split ("train" or "evaluation") differ between two runs, and which is the first.

    None where they do not, or where the files of one of them are gone or have changed since.
    """
    a, b = ours.record.data.get(split, {}), theirs.record.data.get(split, {})
    if a.get("sha256") == b.get("sha256") or not {a.get("kind"), b.get("kind")}.issubset(LOCAL):
        return None
    try:
        mine, other = (list(zip(*_columns(run, split), strict=True)) for run in (ours, theirs))
    except (UserError, TypeError, ValueError):
        return None
    places = [place for place, (one, another) in enumerate(zip(mine, other, strict=False), 1) if one != another]
    counts = f"{len(mine):,} and {len(other):,} {split} rows"
    if not places:
        return f"{counts}: the same as far as both go"
    return f"{counts}: {len(places):,} differ, the first is row {places[0]:,}"


def _columns(run: Run, split: str) -> list[list[object]]:
    """Raises: UserError if the rows cannot be read, or are not those of the run."""
    experiment = resolve(Settings(dict(parse_yaml(run.config_text or "", run.id))))
    task, settings = experiment.task, experiment.config.task
    loaded = task.load_training(settings) if split == "train" else task.load(task.eval_split, settings.data_dir)
    if loaded.origin["sha256"] != run.record.data[split].get("sha256"):
        raise UserError(f"{run.id}: its rows have changed since")
    examples: Dataset = loaded.examples
    return [examples[name][:] for name in examples.column_names]
