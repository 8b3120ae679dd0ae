"""Two folders of results side by side: the tables of one, with those of the other as what they stand beside."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest

from rocoft_bench.analysis.table import EMPTY, Cell, Column, Stat, Table


def side_by_side(ours: Sequence[Table], others: Sequence[Table], name: str) -> list[Table]:
    """Every table that either folder has; `name` is what the other one is called.

    Cells are matched by table, model, method, settings and task. Where the conditions of a table differ, both are
    stated.
    """
    mine, theirs = ({table.key: table for table in tables} for tables in (ours, others))
    return [_merged(mine.get(key), theirs.get(key), name) for key in {**mine, **theirs}]


def _merged(ours: Table | None, other: Table | None, name: str) -> Table:
    table = ours or other
    assert table is not None
    absent = replace(table, columns=[], rows=[], notes=[])
    here, there = ours or absent, other or absent
    rows, beside = ({row.key: row for row in own.rows} for own in (here, there))
    only = f"nothing of this was run in {name}" if ours else f"all of this was run in {name} alone"
    merged = []
    for key in {**rows, **beside}:
        own, theirs = ((found[key].cells if key in found else {}) for found in (rows, beside))
        cells = {column: _cell(own.get(column, EMPTY), theirs.get(column, EMPTY)) for column in {**own, **theirs}}
        merged.append(replace(rows.get(key) or beside[key], cells=cells, reference_title=name))
    return replace(
        table,
        columns=_columns([*here.columns, *there.columns]),
        rows=merged,
        conditions=_conditions(here.conditions, there.conditions, name),
        notes=[*([] if ours and other else [only]), *here.notes, *(f"{name}: {note}" for note in there.notes)],
    )


def _columns(columns: Sequence[Column]) -> list[Column]:
    """Each once, with names for as many numbers as either table has there."""
    found: dict[str, Column] = {}
    for column in columns:
        known = found.setdefault(column.key, column)
        if len(column.parts) > len(known.parts):
            found[column.key] = column
    return list(found.values())


def _cell(ours: Cell, other: Cell) -> Cell:
    parts = tuple(
        replace(own, reference=beside.value, reference_deviation=beside.deviation).compared()
        for own, beside in zip_longest(ours.parts, other.parts, fillvalue=Stat())
    )
    failures = " ".join(f"[{status}]" for status in other.failures)
    return replace(ours, parts=parts, reference_text=other.text or failures)


def _conditions(mine: dict[str, str], theirs: dict[str, str], name: str) -> dict[str, str]:
    """Both where they differ."""
    keys = [key for key in {**mine, **theirs} if key != "Paper"]
    both = {key: (mine.get(key, "not stated"), theirs.get(key, "not stated")) for key in keys}
    return {key: here if here == there else f"{here}; {name}: {there}" for key, (here, there) in both.items()}
