"""Putting the page together: what is read without JavaScript is HTML, the rest is packed (see `packing`)."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import rocoft_bench
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Cell, Table
from rocoft_bench.report.page.packing import pack
from rocoft_bench.report.page.page_filters import FILTERS
from rocoft_bench.report.writing.texts import caption
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
    packed = pack(results)
    shown = [*tables, *comparisons]
    script = _script()
    page = _environment(packed.numbers).get_template("page.html.j2").render(
        title=title,
        made=datetime.now(UTC),
        versions=_versions(results),
        statuses=Counter(run.record.status for run in results.runs),
        results=results,
        sections=[("Tables", tables), ("Statistics", comparisons)],
        figures=[(figure.drawing, _inline(figure.svg)) for figure in figures],
        notes=notes,
        choices=_choices(shown),
        packed=packed,
        style=_asset("style.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip
    write_text(file, page.encode("utf-8", errors="replace").decode())


def _environment(numbers: dict[str, int]) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rocoft_bench.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        **FILTERS,
        "run_numbers": _run_numbers(numbers),
        "anchor": partial(quote, safe="", errors="replace"),
    }
    return environment


def _run_numbers(numbers: dict[str, int]) -> Callable[[Cell], list[int]]:
    """The places in the page's index of the runs that a cell is made of."""
    return lambda cell: [numbers[id] for id in cell.runs if id in numbers]


def _choices(tables: Sequence[Table]) -> dict[str, list[tuple[str, str]]]:
    """What there is to filter by: (value, text), in order of first appearance."""
    columns = [column for table in tables for column in table.columns]
    rows = [row for table in tables for row in table.rows]

    def same(values: list[str]) -> list[tuple[str, str]]:
        return [(value, value) for value in dict.fromkeys(values)]

    return {
        "table": [(table.key, caption(table)) for table in tables],
        "model": same([row.model for row in rows]),
        "task": same([column.task for column in columns if column.task]),
        "method": same([row.method for row in rows]),
    }


def _versions(results: Results) -> list[str]:
    """Of this program, and of the main packages that the runs were made with."""
    found = [run.provenance.get("packages") for run in results.runs if run.provenance]
    used = {
        f"{name} {packages[name]}": None
        for name in SHOWN_PACKAGES
        for packages in found
        if isinstance(packages, dict) and packages.get(name)
    }
    return [f"rocoft-bench {rocoft_bench.__version__}", *used]


def _script() -> str:
    return "\n".join(_asset(f"script/{name}.js") for name in SCRIPTS)


def _asset(name: str) -> str:
    return files("rocoft_bench.report.page").joinpath(name).read_text(encoding="utf-8")


def _inline(svg: Path) -> str:
    from rocoft_bench.report.figures import themed_svg

    return themed_svg(svg.read_text(encoding="utf-8"))
