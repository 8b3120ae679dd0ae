"""A figure of the report: what it is drawn from, as it is drawn, and as it lies on the disk."""

import math
import re
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import matplotlib
from matplotlib.figure import Figure

from rocoft_bench.analysis.method_comparison import is_of
from rocoft_bench.analysis.records import Results, Run
from rocoft_bench.analysis.table import Column, Row, Table
from rocoft_bench.errors import UserError
from rocoft_bench.report.figures.style import short
from rocoft_bench.untrusted import open_file

DOTS_PER_INCH = 150
IMAGE_DOTS_PER_INCH = 100
"""Of images in an SVG, which a page holds many of."""
KEY_LETTERS = 80

CREATOR = "rocoft-bench"
MARKED_BYTES = 4096
"""Every SVG names its creator within its first bytes."""


@dataclass(frozen=True)
class FigureData:
    """What is drawn. ours: the method that stands out, by its name or the title of a row."""

    results: Results
    tables: Sequence[Table]
    ours: str

    @cached_property
    def runs(self) -> dict[str, Run]:
        return {run.id: run for run in self.results.runs}

    @cached_property
    def _of_ours(self) -> set[str]:
        runs = {run.id for run in self.results.runs if is_of(run, self.ours)}
        return runs | {bench.id for bench in self.results.efficiency if is_of(bench, self.ours)}

    def is_ours(self, row: Row) -> bool:
        return any(id in self._of_ours for cell in row.cells.values() for id in cell.runs)

    def tables_of_runs(self) -> list[tuple[Table, str]]:
        """The tables that compare methods by their training runs, and are not of the paper's figures; by model."""
        tables = [table for table in self.tables if any(column.key == "adapter" for column in table.columns)]
        shown = [table for table in tables if not (table.number or "").startswith("Figure")]
        return [(table, model) for table in shown for model in table.models]


def number_in(row: Row, key: str) -> float | None:
    """The first number of a cell, which is a task's main metric; None if there is no value, or none that is finite."""
    cell = row.cells.get(key)
    value = cell.parts[0].value if cell and cell.parts else None
    return value if value is not None and math.isfinite(value) else None


def results_of(table: Table, model: str) -> tuple[list[Row], list[Column]]:
    """The methods that have a result in any task, without those that only the paper has; and the tasks' columns."""
    tasks = [column for column in table.columns if column.task is not None and column.parts]
    rows = table.of_model(model)
    return [row for row in rows if any(number_in(row, task.key) is not None for task in tasks)], tasks


@dataclass(frozen=True)
class Drawing:
    """A figure.

    key: unique within a report, stem of its files. caption: what is shown, of which runs, under which conditions.
    number: the paper's, e.g. "Figure 2"; None if it has none. table: key of the table that it is drawn from, None if it
    is drawn from records.
    """

    key: str
    title: str
    caption: str
    figure: Figure
    number: str | None = None
    table: str | None = None


class FigureFiles(NamedTuple):
    """A figure as it was written."""

    drawing: Drawing
    png: Path
    svg: Path


def key_of(*parts: str | int) -> str:
    """Parts joined to a key, in letters that every file system and every link takes."""
    words = (re.sub(r"[^a-z0-9.]+", "-", str(part).lower()).strip("-.") for part in parts)
    return "-".join(filter(None, words))[:KEY_LETTERS].strip("-.")


def drawing_of(
    table: Table, model: str, figure: Figure, caption: str, kind: str = "", title: str = "", number: str | None = None
) -> Drawing:
    """The drawing of a model's part of a table, with the conditions of the table that a caption repeats. kind, title:
    what the figure shows, before the key and the title of the table.
    """
    several = len(table.models) > 1
    key, of_table = (f"{table.key}-{model}", f"{table.title}, {model}") if several else (table.key, table.title)
    known = [f"{name}: {table.conditions[name]}." for name in ("Seeds", "Checkpoint") if table.conditions.get(name)]
    stated = " ".join([caption, *known, *(["Other conditions: as of the table."] if known else [])])
    title = f"{title}: {of_table}" if title else of_table
    return Drawing(key_of(kind, key), title, stated, figure, number, table.key)


def write(drawing: Drawing, folder: Path) -> FigureFiles:
    """PNG on white, SVG on nothing; the same bytes for the same drawing.

    Raises: OSError if a file cannot be written.
    """
    png, svg = folder / f"{drawing.key}.png", folder / f"{drawing.key}.svg"
    metadata = {"Date": None, "Creator": CREATOR, "Title": short(drawing.title, 200)}
    with matplotlib.rc_context({"svg.hashsalt": drawing.key}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        drawing.figure.savefig(png, dpi=DOTS_PER_INCH, metadata={"Software": None}, pil_kwargs={"compress_level": 4})
        drawing.figure.savefig(svg, dpi=IMAGE_DOTS_PER_INCH, transparent=True, metadata=metadata)
    return FigureFiles(drawing, png, svg)


def remove_figures(folder: Path, kept: Collection[str]) -> None:
    """Remove the figures that were written into a folder before, but for files of some names.

    Raises: OSError if one cannot be removed.
    """
    for svg in [file for file in folder.glob("*.svg") if file.name not in kept and _is_ours(file)]:
        for file in (svg, svg.with_suffix(".png")):
            file.unlink(missing_ok=True)


def _is_ours(svg: Path) -> bool:
    try:
        with open_file(svg, follow_links=False) as stream:
            return CREATOR.encode() in stream.read(MARKED_BYTES)
    except UserError:
        return False
