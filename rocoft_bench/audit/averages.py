"""Table 1's averages against the means of its own cells."""

from collections.abc import Collection, Mapping, Sequence

from rocoft_bench import paper
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, text_cells

ROUNDING = 0.015
"""The largest difference that rounding explains, in points. A cell that was rounded or cut off at two decimals is at
most 0.005 above and 0.01 below what it stands for, and so is a mean of cells and a printed mean."""

MODEL = "roberta-base"

_COLUMNS = [
    Column("first", "mean of 8 first metrics", ("",), unit="%"),
    Column("second", "mean of 3 second metrics", ("",), unit="%"),
    Column("verdict", "verdict"),
    Column("arithmetic", "arithmetic"),
]


def averages() -> Table:
    """Both averages of each row, recomputed from the row's cells beside the printed ones."""
    rows = [_row(method, cells) for method, cells in paper.cells(1, MODEL).items()]
    notes = [
        "The paper does not define its averages; these are the definitions that give the other rows' to the last digit "
        f"(a difference up to {ROUNDING} points may be rounding).",
        *(_leader(rows, column) for column in _COLUMNS[:2]),
    ]
    return Table("audit-averages", "Table 1's averages, recomputed from its own cells", _COLUMNS, rows, notes=notes)


def _row(method: str, cells: Mapping[tuple[str, str], float]) -> Row:
    first: dict[str, float] = {}
    second: dict[str, float] = {}
    for (task, _), value in cells.items():
        if task != "average":
            (second if task in first else first)[task] = value
    found = {
        "first": _part(first.values(), cells["average", "mean_first_metric"]),
        "second": _part(second.values(), cells["average", "mean_second_metric"]),
    }
    off = {name: part for name, part in found.items() if abs(part.difference or 0) > ROUNDING}
    verdict = ", ".join(f"{name} is printed as {part.reference:.2f}" for name, part in off.items()) or "agrees"
    texts = text_cells(verdict=verdict, arithmetic="; ".join(map(_sum, (first.values(), second.values()))))
    return Row(MODEL, method, {name: Cell((part,)) for name, part in found.items()} | texts, "", "printed")


def _part(values: Collection[float], printed: float) -> Stat:
    return Stat(sum(values) / len(values), n=len(values), reference=printed).compared()


def _sum(values: Collection[float]) -> str:
    terms = " + ".join(f"{value:.2f}" for value in values)
    return f"({terms}) / {len(values)} = {sum(values) / len(values):.4f}"


def _leader(rows: Sequence[Row], column: Column) -> str:
    """Who has the highest average, as printed and recomputed."""
    parts = {row.method: row.cell(column).parts[0] for row in rows}
    printed = max(parts, key=lambda method: parts[method].reference or 0.0)
    recomputed = max(parts, key=lambda method: parts[method].value or 0.0)
    return (
        f"Highest {column.title}: printed {printed} ({parts[printed].reference:.2f}), "
        f"recomputed {recomputed} ({parts[recomputed].value:.2f})."
    )
