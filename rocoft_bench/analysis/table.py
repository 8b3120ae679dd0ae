"""What a report is made of: tables of cells that know their runs. Builders make these, writers show them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

Highlight = Literal["best", "second"]


@dataclass(frozen=True)
class Stat:
    """One number of a cell, in the unit of its column.

    value: the mean over `n` runs; None where nothing was run, or nothing gave a result.
    deviation: the sample standard deviation over the runs; None for fewer than two.
    reference: what the value stands beside, the paper's number as a rule; None where there is none.
    reference_deviation: the standard deviation printed with it, if any.
    difference: value - reference; None where one is missing or the two are not to be compared.
    """

    value: float | None = None
    deviation: float | None = None
    n: int = 0
    reference: float | None = None
    reference_deviation: float | None = None
    difference: float | None = None
    highlight: Highlight | None = None

    def compared(self) -> Stat:
        """With its difference to the reference, if both are there."""
        both = self.value is not None and self.reference is not None
        return replace(self, difference=self.value - self.reference if both else None)  # type: ignore[operator]


@dataclass(frozen=True)
class Cell:
    """Numbers (one, or two or three that the paper joins with a slash), or a text. With both, the text is what is
    shown, and the numbers are what is sorted and drawn.

    runs: `Run.id` of every run that the cell is made of; failures: the statuses of those without a result.
    """

    parts: tuple[Stat, ...] = ()
    text: str = ""
    reference_text: str = ""
    runs: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.text and not self.failures and all(part.value is None for part in self.parts)

    @property
    def has_reference(self) -> bool:
        return bool(self.reference_text) or any(part.reference is not None for part in self.parts)

    @property
    def references(self) -> tuple[tuple[float | None, float | None], ...]:
        """What its numbers stand beside, with deviations."""
        return tuple((part.reference, part.reference_deviation) for part in self.parts)

    def without_references(self) -> Cell:
        parts = tuple(replace(part, reference=None, reference_deviation=None) for part in self.parts)
        return replace(self, parts=parts, reference_text="")


EMPTY = Cell()


def text_cells(**texts: str) -> dict[str, Cell]:
    """Cells of texts, by the keys of their columns."""
    return {key: Cell(text=text) for key, text in texts.items()}


@dataclass(frozen=True)
class Column:
    """parts: a name for each number of the column's cells, e.g. ("acc", "F1"); empty for text.

    task: what to filter by, None for a column that is of no task. better: which values are good, None if neither.
    """

    key: str
    title: str
    parts: tuple[str, ...] = ()
    task: str | None = None
    unit: str = ""
    decimals: int = 2
    better: Literal["higher", "lower"] | None = None


@dataclass(frozen=True)
class Row:
    """One method on one model. variant: the settings in which it differs from rows of the same name.

    reference_title: of what the references of the row are, e.g. "paper" or "paper (roberta-base)"; empty if of nothing.
    """

    model: str
    method: str
    cells: dict[str, Cell]
    variant: str = ""
    reference_title: str = ""

    @property
    def title(self) -> str:
        return f"{self.method}, {self.variant}" if self.variant else self.method

    @property
    def key(self) -> tuple[str, str]:
        return (self.model, self.title)

    def cell(self, column: Column) -> Cell:
        return self.cells.get(column.key, EMPTY)


@dataclass
class Table:
    """key: unique within a report, fit for file names and links. number: of the paper's table or figure, "7" or
    "Figure 4"; None if it is not of the paper.

    conditions: what holds for every cell, in order: Model, Data, Metric, Protocol, Template, Loss, Checkpoint, Head,
    Seeds, Hardware; Paper: how its numbers relate to ours. notes: whatever else a reader has to know, a sentence each.
    """

    key: str
    title: str
    columns: list[Column]
    rows: list[Row] = field(default_factory=list)
    number: str | None = None
    conditions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def models(self) -> list[str]:
        return list(dict.fromkeys(row.model for row in self.rows))

    def of_model(self, model: str) -> list[Row]:
        return [row for row in self.rows if row.model == model]

    def column(self, key: str) -> Column:
        """Raises: KeyError."""
        return {column.key: column for column in self.columns}[key]

    def cells(self) -> Iterator[tuple[Row, Column, Cell]]:
        """Every cell that holds something."""
        for row in self.rows:
            for column in self.columns:
                if not (cell := row.cell(column)).is_empty:
                    yield row, column, cell


def with_highlights(rows: list[Row], columns: list[Column]) -> list[Row]:
    """The rows with the best and the second best value of each number marked, ties alike, as the paper does.

    Values are compared as they are shown. What more than half of the rows share is no distinction and is not marked.
    """
    for column in columns:
        if column.better is not None:
            highlights = [_highlights(rows, column, place) for place in range(len(column.parts))]
            rows = [_marked(row, column, highlights) for row in rows]
    return rows


def _marked(row: Row, column: Column, highlights: list[dict[float, Highlight]]) -> Row:
    cell = row.cell(column)
    parts = tuple(
        part if part.value is None else replace(part, highlight=known.get(round(part.value, column.decimals)))
        for part, known in zip(cell.parts, highlights, strict=False)
    )
    return replace(row, cells={**row.cells, column.key: replace(cell, parts=parts)}) if cell.parts else row


def _highlights(rows: list[Row], column: Column, index: int) -> dict[float, Highlight]:
    """The best and the second best number at a place of a column's cells."""
    parts = [row.cell(column).parts[index] for row in rows if len(row.cell(column).parts) > index]
    values = [round(part.value, column.decimals) for part in parts if part.value is not None]
    distinct = sorted(set(values), reverse=column.better == "higher")
    marks: dict[float, Highlight] = dict(zip(distinct, ("best", "second"), strict=False))
    return {value: mark for value, mark in marks.items() if 2 * values.count(value) <= len(values)}


def with_references_once(table: Table) -> Table:
    """The table in which what stands beside several rows of a method is said at the first of them. Differences stay."""
    told: set[tuple[object, ...]] = set()
    rows = []
    for row in table.rows:
        beside = [(key, cell.reference_text, cell.references) for key, cell in row.cells.items() if cell.has_reference]
        is_told = (said := (row.model, row.method, *beside)) in told
        told.add(said)
        rows.append(replace(row, cells={k: c.without_references() for k, c in row.cells.items()}) if is_told else row)
    return replace(table, rows=rows)


def only_run(table: Table, beside: bool = False) -> Table:
    """The table without the rows and columns in which nothing was run, and a note that says so.

    beside: the table stands beside results of another folder, which count as run too.
    """

    def is_shown(row: Row, column: Column) -> bool:
        cell = row.cell(column)
        return not cell.is_empty or (beside and cell.has_reference)

    rows = [row for row in table.rows if any(is_shown(row, column) for column in table.columns)]
    columns = [column for column in table.columns if any(is_shown(row, column) for row in rows)]
    left_out = len(table.rows) - len(rows)
    notes = [f"not run and not shown here: {left_out} rows of the paper's table"] if left_out else []
    return replace(table, rows=rows, columns=columns, notes=[*notes, *table.notes])


def with_unique_keys(tables: Iterable[Table]) -> list[Table]:
    """The tables, a number added to each key that an earlier one has."""
    found: dict[str, Table] = {}
    for table in tables:
        key, number = table.key, 1
        while key in found:
            number += 1
            key = f"{table.key}-{number}"
        found[key] = replace(table, key=key)
    return list(found.values())
