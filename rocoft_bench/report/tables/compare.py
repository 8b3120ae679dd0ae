"""Two folders of results side by side: the tables of one, with those of the other as what they stand beside."""

from collections.abc import Sequence
from dataclasses import replace

from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table


def side_by_side(ours: Sequence[Table], others: Sequence[Table], name: str) -> list[Table]:
    """Every table that either folder has; `name` is what the other one is called.

    Cells are matched by table, model, method, settings and task. Where the conditions of a table differ, both are
    stated.
    """
    theirs = {table.key: table for table in others}
    mine = {table.key: table for table in ours}
    keys = dict.fromkeys((*mine, *theirs))
    return [_merged(mine.get(key), theirs.get(key), name) for key in keys]


def _merged(ours: Table | None, other: Table | None, name: str) -> Table:
    table = ours or other
    assert table is not None
    rows = {row.key: row for row in (ours.rows if ours else ())}
    beside = {row.key: row for row in (other.rows if other else ())}
    return replace(
        table,
        columns=_columns([*(ours.columns if ours else ()), *(other.columns if other else ())]),
        rows=[_row(rows.get(key), beside.get(key), name) for key in dict.fromkeys((*rows, *beside))],
        conditions=_conditions(ours, other, name),
        notes=_notes(ours, other, name),
    )


def _columns(columns: Sequence[Column]) -> list[Column]:
    """Each once, with names for as many numbers as either table has there."""
    found: dict[str, Column] = {}
    for column in columns:
        known = found.setdefault(column.key, column)
        if len(column.parts) > len(known.parts):
            found[column.key] = column
    return list(found.values())


def _row(ours: Row | None, other: Row | None, name: str) -> Row:
    row = ours or other
    assert row is not None
    own, beside = ours.cells if ours else {}, other.cells if other else {}
    cells = {key: _cell(own.get(key, Cell()), beside.get(key, Cell())) for key in dict.fromkeys((*own, *beside))}
    return replace(row, cells=cells, reference_title=name)


def _cell(ours: Cell, other: Cell) -> Cell:
    count = max(len(ours.parts), len(other.parts))
    parts = tuple(_part(_nth(ours, index), _nth(other, index)) for index in range(count))
    return replace(ours, parts=parts, reference_text=other.text or _failures(other))


def _nth(cell: Cell, index: int) -> Stat:
    return cell.parts[index] if index < len(cell.parts) else Stat()


def _part(ours: Stat, other: Stat) -> Stat:
    both = ours.value is not None and other.value is not None
    difference = ours.value - other.value if both else None  # type: ignore[operator]
    return replace(ours, reference=other.value, reference_deviation=other.deviation, difference=difference)


def _failures(cell: Cell) -> str:
    return " ".join(f"[{status}]" for status in cell.failures)


def _conditions(ours: Table | None, other: Table | None, name: str) -> dict[str, str]:
    """Both where they differ; those of the only table where the other folder has none."""
    mine, theirs = (table.conditions for table in (ours or other, other or ours) if table)
    stated = {}
    for key in (key for key in dict.fromkeys((*mine, *theirs)) if key != "Paper"):
        here, there = mine.get(key, "not stated"), theirs.get(key, "not stated")
        stated[key] = here if here == there else f"{here}; {name}: {there}"
    return stated


def _notes(ours: Table | None, other: Table | None, name: str) -> list[str]:
    """The notes of both, and where one of the folders has nothing of the table."""
    absent = f"nothing of this was run in {name}" if other is None else f"all of this was run in {name} alone"
    said = [] if ours and other else [absent]
    return [*said, *(ours.notes if ours else ()), *(f"{name}: {note}" for note in (other.notes if other else ()))]
