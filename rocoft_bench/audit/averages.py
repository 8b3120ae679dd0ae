"""Table 1's averages against the means of its own cells."""

from collections.abc import Collection, Sequence

from rocoft_bench import paper
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, text_cells

ROUNDING = 0.015
"""The largest difference that rounding explains, in points. A cell that was rounded or cut off at two decimals is at
most 0.005 above and 0.01 below what it stands for, and so is a mean of cells and a printed mean."""

_COLUMNS = (
    Column("first", "mean of 8 first metrics", ("",), unit="%"),
    Column("second", "mean of 3 second metrics", ("",), unit="%"),
    Column("verdict", "verdict"),
    Column("arithmetic", "arithmetic"),
)


def averages() -> Table:
    """Both averages of each row, recomputed from the row's cells beside the printed ones."""
    table = Table("audit-averages", "Table 1's averages, recomputed from its own cells", list(_COLUMNS))
    by_method: dict[str, dict[tuple[str, str], float]] = {}
    for result in paper.results():
        if result.table == 1:
            by_method.setdefault(result.method, {})[result.task, result.metric] = result.value
    table.rows = [_row(method, cells) for method, cells in by_method.items()]
    table.notes = [
        "The paper does not define its averages; these are the definitions that give the other rows' to the last digit "
        f"(a difference up to {ROUNDING} points may be rounding).",
        *(_leader(table.rows, column) for column in _COLUMNS[:2]),
    ]
    return table


def _row(method: str, cells: dict[tuple[str, str], float]) -> Row:
    first: dict[str, float] = {}
    second: dict[str, float] = {}
    for (task, _), value in cells.items():
        if task != "average":
            (second if task in first else first)[task] = value
    found = {
        "first": _part([*first.values()], cells["average", "mean_first_metric"]),
        "second": _part([*second.values()], cells["average", "mean_second_metric"]),
    }
    texts = text_cells(verdict=_verdict(found), arithmetic="; ".join(map(_sum, (first.values(), second.values()))))
    return Row("roberta-base", method, {name: Cell((part,)) for name, part in found.items()} | texts, "", "printed")


def _part(values: Sequence[float], printed: float) -> Stat:
    mean = sum(values) / len(values)
    return Stat(mean, n=len(values), reference=printed, difference=mean - printed)


def _sum(values: Collection[float]) -> str:
    terms = " + ".join(f"{value:.2f}" for value in values)
    return f"({terms}) / {len(values)} = {sum(values) / len(values):.4f}"


def _verdict(parts: dict[str, Stat]) -> str:
    off = {name: part for name, part in parts.items() if abs(part.difference or 0) > ROUNDING}
    return ", ".join(f"{name} is printed as {part.reference:.2f}" for name, part in off.items()) or "agrees"


def _leader(rows: Sequence[Row], column: Column) -> str:
    """Who has the highest average, as printed and recomputed."""

    def of(row: Row, recomputed: bool) -> float:
        part = row.cell(column).parts[0]
        return (part.value if recomputed else part.reference) or 0.0

    printed, recomputed = (max(rows, key=lambda row: of(row, again)) for again in (False, True))
    return (
        f"Highest {column.title}: printed {printed.method} ({of(printed, False):.2f}), "
        f"recomputed {recomputed.method} ({of(recomputed, True):.2f})."
    )
