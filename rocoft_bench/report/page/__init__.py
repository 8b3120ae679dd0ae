"""The report as one HTML file that needs nothing else: no network, no server, no other file. What is read without
JavaScript is HTML, the rest is packed (see `packing`).
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import rocoft_bench
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Cell, Column, Stat, Table
from rocoft_bench.report.page.packing import pack
from rocoft_bench.report.writing.texts import MISSING, caption, difference_text, place, reference_text, with_deviation
from rocoft_bench.runs.atomic_files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

    from rocoft_bench.report.figures import FigureFiles

SCRIPTS = ("elements", "packed", "tables", "filters", "charts", "predictions", "runs", "main")
"""In this order, they are one module."""

SHOWN_PACKAGES = ("torch", "transformers", "peft")


def write_page(
    file: Path,
    title: str,
    results: Results,
    tables: Sequence[Table],
    figures: Sequence[FigureFiles] = (),
    comparisons: Sequence[Table] = (),
    notes: Sequence[str] = (),
) -> None:
    """Write the report of `results` as one HTML file.

    tables, comparisons: results and statistics about them, with different keys; figures: inlined from their SVG files;
    notes: what else a reader has to know, such as why a figure is not there.

    Raises: OSError if the file cannot be written or a figure cannot be read.
    """
    from rocoft_bench.report.figures import themed_svg

    packed = pack(results)
    script = "\n".join(_asset(f"script/{name}.js") for name in SCRIPTS)
    page = _environment(packed.numbers).get_template("page.html.j2").render(
        title=title,
        made=datetime.now(UTC),
        versions=_versions(results),
        statuses=Counter(run.record.status for run in results.runs),
        results=results,
        sections=[("Tables", tables), ("Statistics", comparisons)],
        figures=[(figure.drawing, themed_svg(figure.svg.read_text(encoding="utf-8"))) for figure in figures],
        notes=notes,
        choices=_choices([*tables, *comparisons]),
        packed=packed,
        style=_asset("style.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip
    write_text(file, page.encode("utf-8", errors="replace").decode())


def _environment(numbers: dict[str, int]) -> Environment:
    """numbers: the places of runs in the page's index."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rocoft_bench.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    of_tables = (mean, counts, failures, sort_value, measured, shared_reference)
    of_all_writers = (reference_text, difference_text, caption, place)
    environment.filters |= {text.__name__: text for text in (*of_tables, *of_all_writers)}
    environment.filters |= {
        "run_numbers": lambda cell: [numbers[id] for id in cell.runs if id in numbers],
        "anchor": partial(quote, safe="", errors="replace"),
    }
    return environment


def _choices(tables: Sequence[Table]) -> dict[str, list[tuple[str, str]]]:
    """What there is to filter by: (value, text), in order of first appearance."""
    columns = [column for table in tables for column in table.columns]
    rows = [row for table in tables for row in table.rows]
    found = {
        "model": [row.model for row in rows],
        "task": [column.task for column in columns if column.task],
        "method": [row.method for row in rows],
    }
    same = {name: [(value, value) for value in dict.fromkeys(values)] for name, values in found.items()}
    return {"table": [(table.key, caption(table)) for table in tables], **same}


def _versions(results: Results) -> list[str]:
    """Of this program, and of the main packages that the runs were made with."""
    found = [run.provenance.get("packages") for run in results.runs if run.provenance]
    known = [packages for packages in found if isinstance(packages, dict)]
    used = (f"{name} {own[name]}" for name in SHOWN_PACKAGES for own in known if own.get(name))
    return [f"rocoft-bench {rocoft_bench.__version__}", *dict.fromkeys(used)]


def _asset(name: str) -> str:
    return files("rocoft_bench.report.page").joinpath(name).read_text(encoding="utf-8")


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
