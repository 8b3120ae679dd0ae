"""From values in a long table to rows of cells: means and deviations over seeds, beside what the paper has."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from rocoft_bench.analysis.groups import Record
from rocoft_bench.analysis.table import Cell, Column, Row, Stat

if TYPE_CHECKING:
    import pandas as pd


class RowKey(NamedTuple):
    model: str
    method: str
    variant: str = ""


class Reference(NamedTuple):
    """What a number stands beside. compare: whether a difference to it means anything. text: instead of a number."""

    value: float | None = None
    deviation: float | None = None
    compare: bool = True
    text: str = ""


References = Callable[[RowKey, Column, int], Reference | None]
"""What stands beside a row's number in a column, the first, the second …; None for nothing."""


@dataclass
class CellValues:
    """The values of a cell by their place in it; its records, and how those ended that have no value."""

    numbers: dict[int, list[float]] = field(default_factory=dict)
    ids: dict[str, None] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, place: int, id: str, value: float, failure: str) -> None:
        self.ids[id] = None
        if failure:
            self.failures[id] = failure
        elif value == value:  # nan where a record holds nothing
            self.numbers.setdefault(place, []).append(value)


Reducer = Callable[[Column, CellValues], Cell]


def over_seeds(column: Column, values: CellValues) -> Cell:
    """Mean and deviation of each number."""
    kind = int if column.unit == "parameters" else float  # numbers of parameters are whole, in CSV files too
    numbers = [list(map(kind, values.numbers.get(place, ()))) for place in range(len(column.parts))]
    return Cell(tuple(map(stat_of, numbers)), runs=tuple(values.ids), failures=tuple(values.failures.values()))


def stat_of(values: Sequence[float]) -> Stat:
    mean = statistics.mean(values) if values else None
    return Stat(mean, statistics.stdev(values) if len(values) > 1 else None, len(values))


def only_mean(column: Column, values: CellValues) -> Cell:
    return Cell((Stat(stat_of(values.numbers.get(0, ())).value),))


def largest(column: Column, values: CellValues) -> Cell:
    return Cell((Stat(max(values.numbers.get(0, ()), default=None)),))


def count(column: Column, values: CellValues) -> Cell:
    """A number of parameters; where records differ in it, the largest, and both ends as text."""
    counts = sorted({int(value) for value in values.numbers.get(0, ())})
    text = f"{counts[0]:,} … {counts[-1]:,}" if len(counts) > 1 else ""
    return Cell((Stat(counts[-1] if counts else None),), text)


RUN_COSTS: Mapping[str, Reducer] = {
    "adapter": count,
    "head": count,
    "train_seconds": only_mean,
    "peak_memory_mib": largest,
}
"""How the costs of runs, of whatever tasks, become the cell of a row."""


def pivot(
    values: pd.DataFrame,
    keys: Iterable[RowKey],
    columns: Sequence[Column],
    references: References = lambda key, column, place: None,
    reducers: Mapping[str, Reducer] = {},
    reference_title: Callable[[str], str] = lambda model: "paper",
) -> list[Row]:
    """A row for each key. values: a long table that also says in which `row` (a key), `column` and `place` of the
    column's cells each value stands. reference_title: of what the references of a model are.
    """
    cells: dict[RowKey, dict[str, CellValues]] = {}
    names = ["row", "column", "place", "id", "value", "failure"]
    for row, column, *value in values[names].itertuples(index=False, name=None):
        cells.setdefault(row, {}).setdefault(column, CellValues()).add(*value)

    def row_of(key: RowKey) -> Row:
        own = cells.get(key, {})
        made = {}
        for column in columns:
            cell = reducers.get(column.key, over_seeds)(column, own.get(column.key, CellValues()))
            made[column.key] = _beside(cell, [references(key, column, place) for place in range(len(column.parts))])
        beside = any(cell.has_reference for cell in made.values())
        return Row(*key[:2], made, key.variant, reference_title(key.model) if beside else "")

    return [row_of(key) for key in keys]


def _beside(cell: Cell, references: Sequence[Reference | None]) -> Cell:
    """The cell with its references, and the differences to them."""
    stats = list(cell.parts)
    for place, (stat, own) in enumerate(zip(cell.parts, references, strict=False)):
        if own and own.value is not None:
            beside = replace(stat, reference=own.value, reference_deviation=own.deviation)
            stats[place] = beside.compared() if own.compare else beside
    text = next((own.text for own in references if own and own.text), "")
    return replace(cell, parts=tuple(stats), reference_text=text)


PLACED = ["source", "id", "status", "task", "kernel", "metric", "value", "failure"]


def placed(values: pd.DataFrame, places: Iterable[tuple[Record, Hashable]]) -> pd.DataFrame:
    """The values of some records, each with the `row` that its record stands in, or once for each of several rows."""
    import pandas as pd

    rows = [(record.source, record.id, key) for record, key in places]
    return pd.DataFrame(rows, columns=["source", "id", "row"], dtype=object).merge(values[PLACED], on=["source", "id"])


def in_columns(values: pd.DataFrame, columns: Mapping[tuple[str, str], str]) -> pd.DataFrame:
    """The values that have a column by their source and metric, each the first number of its cell."""
    column = [columns.get(key) for key in zip(values.source, values.metric, strict=True)]
    return values.assign(column=column, place=0).dropna(subset="column")


def without_unfinished_costs(values: pd.DataFrame) -> pd.Series:
    """The values, but nothing for time and memory of runs that did not come to their end."""
    is_cost = (values.source == "run") & values.metric.isin(["train_seconds", "peak_memory_mib"])
    return values.value.mask(is_cost & (values.status != "ok"))
