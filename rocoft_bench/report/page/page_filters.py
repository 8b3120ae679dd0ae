"""What the page's tables say beside what all writers do (`rocoft_bench.report.writing.texts`)."""

from collections import Counter
from collections.abc import Callable

from rocoft_bench.analysis.table import Cell, Column, Stat, Table
from rocoft_bench.report.writing.texts import MISSING, caption, difference_text, place, reference_text, with_deviation


def mean(part: Stat, column: Column) -> str:
    """The mean, and the standard deviation where there is one."""
    return with_deviation(part.value, part.deviation, column) or MISSING


def counts(cell: Cell) -> str:
    """Over how many runs the means are: "n = 3", or "n = 3/2" where the parts differ; empty if over one or none."""
    numbers = [part.n for part in cell.parts if part.value is not None]
    if cell.text or max(numbers, default=0) < 2:
        return ""
    return f"n = {'/'.join(map(str, numbers if len(set(numbers)) > 1 else numbers[:1]))}"


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


def shared_reference(table: Table) -> str:
    """What all references of the table are of; empty if there are none, or of several things."""
    titles = {row.reference_title for row in table.rows} - {""}
    return titles.pop() if len(titles) == 1 else ""


FILTERS: dict[str, Callable[..., object]] = {
    text.__name__: text
    for text in (
        mean, counts, failures, sort_value, measured, shared_reference, reference_text, difference_text, caption, place,
    )
}  # fmt: skip
