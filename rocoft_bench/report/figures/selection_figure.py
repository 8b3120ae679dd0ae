"""Strategies of selecting rows and columns (the paper's Figure 4), from the table of that number."""

import math
from collections.abc import Iterator, Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from rocoft_bench.analysis.table import Column, Row, Stat
from rocoft_bench.report.figures import style
from rocoft_bench.report.figures.figure import Drawing, FigureData, drawing_of, number_in, results_of

NUMBER = "Figure 4"
PANEL = 2.1
"""Inches."""


def selection(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each model of each table that is the paper's Figure 4."""
    for table, model in [(own, model) for own in data.tables if own.number == NUMBER for model in own.models]:
        rows, columns = results_of(table, model)
        tasks = [task for task in columns if any(number_in(row, task.key) is not None for row in rows)]
        if not tasks:
            continue
        methods = list(dict.fromkeys(row.method for row in rows))
        looks = dict(zip(dict.fromkeys(row.variant for row in rows), cycle(style.SERIES), strict=False))
        names = [style.short(variant or "only") for variant in looks]
        parts = [row.cells[task.key].parts[0] for row in rows for task in tasks if number_in(row, task.key) is not None]
        start, end = _limits(parts)
        height, top = 0.75 + style.legend_height(names) + PANEL * len(methods), 0.25 + style.legend_height(names)
        margins = (0.65, 0.1, 0.45, top)
        figure, panels = style.panels(len(methods), 1, height, margins, (0, 0.2), sharex=True, sharey=True)
        for axes, method in zip(panels, methods, strict=True):
            _bars(axes, [row for row in rows if row.method == method], tasks, looks)
            axes.set_title(style.short(method, 60))
            axes.set_ylim(start, end)
        style.legend(figure, [Patch(**look.bar_settings()) for look in looks.values()], names)
        caption = (
            f"{model}: {', '.join(methods)} with each strategy of selection, mean over seeds, in percent. The axis "
            f"starts at {start:g}."
        )
        if any(part.deviation is not None for part in parts):
            caption += " Error bars: standard deviation over seeds, where there are at least two."
        yield drawing_of(table, model, figure, caption, number=NUMBER)


def _limits(parts: Sequence[Stat]) -> tuple[float, float]:
    """A round number below all bars, so that differences of a few percent can be seen, and a place above them."""
    lowest = min((part.value or 0.0) - (part.deviation or 0.0) for part in parts)
    highest = max((part.value or 0.0) + (part.deviation or 0.0) for part in parts)
    start = 10.0 * math.floor((lowest - 2) / 10)
    return start, highest + 0.05 * (highest - start)


def _bars(axes: Axes, rows: Sequence[Row], tasks: Sequence[Column], looks: dict[str, style.Series]) -> None:
    width = 0.8 / len(rows)
    for index, row in enumerate(rows):
        look = looks[row.variant]
        for place, task in enumerate(tasks):
            if (value := number_in(row, task.key)) is not None:
                where = place - 0.4 + (index + 0.5) * width
                deviation = row.cells[task.key].parts[0].deviation
                bar = axes.bar(where, value, width * 0.9, yerr=deviation, error_kw=style.ERROR_BAR)
                bar.patches[0].set(label=row.title, **look.bar_settings())
    axes.set_xticks(
        range(len(tasks)), [f"{style.short(task.title, 12)}\n({style.short(task.parts[0], 12)})" for task in tasks]
    )
    axes.set_ylabel("%")
    axes.grid(axis="y")
