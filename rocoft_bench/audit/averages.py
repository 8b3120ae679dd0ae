"""Table 1's averages against the means of its own cells."""

from collections.abc import Mapping, Sequence

from rocoft_bench import paper
from rocoft_bench.analysis.groups import grouped
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
    by_task = grouped((task, value) for (task, _), value in cells.items() if task != "average")
    first, second = ([own[place] for own in by_task.values() if len(own) > place] for place in (0, 1))
    found = {
        "first": _part(first, cells["average", "mean_first_metric"]),
        "second": _part(second, cells["average", "mean_second_metric"]),
    }
    off = {name: part for name, part in found.items() if abs(part.difference or 0) > ROUNDING}
    verdict = ", ".join(f"{name} is printed as {part.reference:.2f}" for name, part in off.items()) or "agrees"
    texts = text_cells(verdict=verdict, arithmetic=f"{_sum(first)}; {_sum(second)}")
    return Row(MODEL, method, {name: Cell((part,)) for name, part in found.items()} | texts, "", "printed")


def _part(values: Sequence[float], printed: float) -> Stat:
    return Stat(sum(values) / len(values), n=len(values), reference=printed).compared()


def _sum(values: Sequence[float]) -> str:
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
