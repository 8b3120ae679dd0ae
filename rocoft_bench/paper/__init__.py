"""The paper's numbers, as data: tidy CSV files parsed from its tables (`tables/*.csv`), never retyped."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True)
class PaperResult:
    """One cell of a results table. `value` is in percent; `trainable_millions` (#TTPs) with the decimals printed."""

    table: int
    model: str
    method: str
    trainable_millions: str
    task: str
    metric: str
    value: float


@cache
def results() -> tuple[PaperResult, ...]:
    """All cells of Tables 1, 2, 6, 7, 11 and 12."""
    return tuple(
        PaperResult(
            table=int(row["table"]),
            model=row["model"],
            method=row["method"],
            trainable_millions=row["trainable_millions"],
            task=row["task"],
            metric=row["metric"],
            value=float(row["value"]),
        )
        for row in _read("results")
    )


@cache
def hyperparameters() -> dict[str, dict[str, str]]:
    """The rows of Table 10 by task, values as printed."""
    return {row["task"]: row for row in _read("hyperparameters")}


@cache
def rank_figures() -> tuple[tuple[int, str, str], ...]:
    """(rank, method, trainable parameters in millions as printed) of Table 8, RoBERTa-base."""
    rows = [(int(row["rank"]), row["method"], row["trainable_millions"]) for row in _read("rank_efficiency")]
    return tuple(dict.fromkeys(rows))


def _read(name: str) -> list[dict[str, str]]:
    text = (files(__package__) / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
