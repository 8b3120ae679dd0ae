"""What the page's tables say beside what all writers do (`rocoft_bench.report.writing.texts`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from rocoft_bench.report.model import Cell, Column, Part
from rocoft_bench.report.writing.texts import caption, difference_text, place, reference_text


def mean(part: Part, column: Column) -> str:
    """The mean, and the standard deviation where there is one."""
    if part.value is None:
        return "–"
    deviation = "" if part.deviation is None else f" ± {number(part.deviation, column)}"
    return number(part.value, column) + deviation


def counts(cell: Cell) -> str:
    """Over how many runs the means are: "n = 3", or "n = 3/2" where the parts differ; empty if over none."""
    numbers = [part.n for part in cell.parts if part.value is not None]
    return f"n = {'/'.join(map(str, numbers if len(set(numbers)) > 1 else numbers[:1]))}" if any(numbers) else ""


def failures(cell: Cell) -> list[tuple[str, str]]:
    """Status and text of each badge: how many runs ended that way."""
    return [(status, status if n == 1 else f"{n} × {status}") for status, n in Counter(cell.failures).items()]


def sort_value(cell: Cell) -> str:
    """What a table is sorted by: the first number, else the text; empty cells have none."""
    values = [part.value for part in cell.parts if part.value is not None]
    return repr(float(values[0])) if values else cell.text


def measured(column: Column) -> str:
    """What the numbers of a column are, and in which unit, unless its title says so."""
    names = " / ".join(column.parts)
    known = column.title.split()
    return ", ".join(text for text in (names, column.unit) if text and text not in known)


def number(value: float, column: Column) -> str:
    """With the column's decimals, a comma between thousands and a real minus sign."""
    return f"{value:z,.{column.decimals}f}".replace("-", "\N{MINUS SIGN}")


FILTERS: dict[str, Callable[..., object]] = {
    text.__name__: text
    for text in (mean, counts, failures, sort_value, measured, reference_text, difference_text, caption, place)
}
