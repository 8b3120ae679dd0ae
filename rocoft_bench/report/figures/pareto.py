"""Quality against trained parameters: what a method gets for what it trains."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.ticker import LogLocator

from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.table import Cell, Column, Row
from rocoft_bench.report.figures import style
from rocoft_bench.report.figures.figure import Drawing, FigureData, drawing_of, number_in, results_of

OURS, OTHERS = (style.OURS, "bold"), (style.INK, "normal")
"""Colour and weight of names."""


@dataclass(frozen=True)
class Point:
    """A method. parameters: trained outside the head. value: mean over tasks, in percent; deviation: over seeds.

    name: with the settings that tell it from others of the method. reference: the same mean of what stands beside the
    values; None unless it may be compared with each of them.
    """

    method: str
    name: str
    is_ours: bool
    parameters: float
    value: float
    deviation: float | None
    reference: float | None


def pareto(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each model of each table of runs, if there is more than one method."""
    for table, model in data.tables_of_runs():
        results, columns = results_of(table, model)
        rows = [row for row in results if number_in(row, "adapter") is not None]
        tasks, shown = common_tasks(rows, columns)
        if len(shown) < 2:
            continue  # one point is not against anything
        points = [_point(data, row, tasks) for row in shown]
        figure, [axes] = style.panels(1, 1, 4.6, (0.65, 0.15, 0.55, 0.15))
        _draw(axes, points)
        metrics = ", ".join(dict.fromkeys(column.parts[0] for column in tasks))
        axes.set_ylabel(style.short(f"{'mean over tasks' if len(tasks) > 1 else tasks[0].title} ({metrics}; %)", 60))
        axes.set_xlabel("trained parameters outside the head")
        references = dict.fromkeys(row.reference_title for row in shown)
        caption = _caption(model, tasks, points, len(results) - len(shown), ", ".join(filter(None, references)))
        yield drawing_of(table, model, figure, caption, "pareto", "Quality against trained parameters")


def common_tasks(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[list[Column], list[Row]]:
    """The tasks to take the mean over, and the methods that have all of them: of the sets of tasks that some method
    has, the one that keeps the most results; of several such, the one with the most tasks.
    """
    had = [[column for column in columns if number_in(row, column.key) is not None] for row in rows]

    def with_all(tasks: list[Column]) -> list[Row]:
        keys = {column.key for column in tasks}
        return [row for row, own in zip(rows, had, strict=True) if keys <= {column.key for column in own}]

    tasks: list[Column] = max(had, key=lambda tasks: (len(tasks) * len(with_all(tasks)), len(tasks)), default=[])
    return tasks, with_all(tasks) if tasks else []


def _point(data: FigureData, row: Row, tasks: Sequence[Column]) -> Point:
    cells = [row.cells[task.key] for task in tasks]
    differences = [cell.parts[0].difference for cell in cells]
    known = [difference for difference in differences if difference is not None]
    value = statistics.mean(cell.parts[0].value or 0.0 for cell in cells)
    return Point(
        method=row.method,
        name=style.short(row.title, 34),
        is_ours=data.is_ours(row),
        parameters=number_in(row, "adapter") or 0.0,
        value=value,
        deviation=_deviation(cells, data.runs),
        reference=value - statistics.mean(known) if len(known) == len(differences) else None,
    )


def _deviation(cells: Sequence[Cell], runs: Mapping[str, Run]) -> float | None:
    """Of the mean over tasks, over the seeds that have all of them; None for fewer than two."""
    by_seed: dict[int, list[float]] = {}
    for record in (runs[id].record for cell in cells for id in cell.runs if id in runs):
        value = (record.metrics or {}).get(record.task["metric_names"][0])
        if value is not None:
            by_seed.setdefault(record.seed, []).append(100 * value)
    means = [statistics.mean(values) for values in by_seed.values() if len(values) == len(cells)]
    return statistics.stdev(means) if len(means) > 1 else None


def _draw(axes: Axes, points: Sequence[Point]) -> None:
    trained = [point for point in points if point.parameters > 0]
    _limits(axes, points, [point.parameters for point in trained] or [1e5])
    axes.grid()
    untrained = sorted((point for point in points if point.parameters == 0), key=lambda point: -point.value)
    texts = [_line(axes, point, is_highest=index == 0) for index, point in enumerate(untrained)]
    for point in trained:
        _mark(axes, point)
    front = [(point.parameters, point.value) for point in pareto_front(trained)]
    if len(front) > 1:
        line = {"color": style.INK, "alpha": 0.5, "linewidth": 1, "zorder": 1, "gid": "front"}
        axes.plot(*zip(*front, strict=True), drawstyle="steps-post", **line)
    corners = [corner for (x, y), (next_x, _) in pairwise(front) for corner in ((x, y), (next_x, y))]
    order = sorted(named(trained), key=lambda point: (not point.is_ours, -point.value))
    ends = [end for point in trained for end in _ends(point)]
    labels = [style.Label(p.name, p.parameters, p.value, *(OURS if p.is_ours else OTHERS)) for p in order]
    style.place_labels(axes, labels, ends, [*corners, *front[-1:]], texts)


def named(points: Sequence[Point]) -> list[Point]:
    """Of settings of a method that train as many parameters the best: the others' names would lie on one another."""
    best = {(point.method, point.parameters): point for point in sorted(points, key=lambda point: point.value)}
    return list(best.values())


def _ends(point: Point) -> list[tuple[float, float]]:
    """Its middle, the ends of the bar over its seeds, and the paper's value."""
    bar = [point.value - point.deviation, point.value + point.deviation] if point.deviation is not None else []
    reference = [] if point.reference is None else [point.reference]
    return [(point.parameters, value) for value in (point.value, *bar, *reference)]


def _limits(axes: Axes, points: Sequence[Point], parameters: Sequence[float]) -> None:
    """Room for the names around the points; at least one power of ten across."""
    values = [value for point in points for _, value in _ends(point)]
    margin = max(0.12 * (max(values) - min(values)), 0.5)
    axes.set_ylim(min(values) - margin, max(values) + margin)
    axes.set_xscale("log")
    lowest, highest = min(parameters) / 3.5, max(parameters) * 5
    axes.set_xlim(lowest, highest)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest < 100 * lowest else (1,)))
    axes.xaxis.set_major_formatter(style.count)
    axes.xaxis.set_minor_formatter("")


def _mark(axes: Axes, point: Point) -> None:
    colour, marker, size, place = (style.OURS, "D", 7, 4) if point.is_ours else (style.OTHERS, "o", 6, 3)
    look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": size}
    axes.errorbar(point.parameters, point.value, point.deviation, elinewidth=1, zorder=place, label=point.name, **look)
    if point.reference is not None:
        ends = [point.parameters] * 2, [point.value, point.reference]
        axes.plot(*ends, color=colour, linewidth=0.8, linestyle=":", zorder=2)
        hollow = {**look, "linestyle": "", "markerfacecolor": "none", "gid": f"paper: {point.name}"}
        axes.plot(point.parameters, point.reference, **hollow)


def _line(axes: Axes, point: Point, is_highest: bool) -> Text:
    """A method that trains nothing but the head, for which a log axis has no place."""
    axes.axhline(point.value, color=style.OTHERS, linestyle=":", linewidth=1, gid=f"none: {point.name}")
    text = axes.text(0.99, point.value, f"{point.name} (0)", transform=axes.get_yaxis_transform(), ha="right")
    text.set_verticalalignment("bottom" if is_highest else "top")
    return text


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other point beats with as few parameters, by parameters."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.parameters, -point.value)):
        if not front or point.value > front[-1].value:
            front.append(point)
    return front


def _caption(model: str, tasks: Sequence[Column], points: Sequence[Point], left_out: int, beside: str) -> str:
    names = ", ".join(f"{column.title} ({column.parts[0]})" for column in tasks)
    text = f"{model}: mean over {names}" if len(tasks) > 1 else f"{model}: {names}"
    text += ", mean over the seeds of each method."
    trained = [point for point in points if point.parameters > 0]
    if len(pareto_front(trained)) > 1:
        text += " The line is the Pareto front."
    if any(point.deviation is not None for point in points):
        text += " Error bars: standard deviation over seeds, where there are at least two."
    if any(point.reference is not None for point in points):
        text += f" Hollow: {beside}, the same tasks, at our number of parameters."
    if nameless := len(trained) - len(named(trained)):
        text += f" Without a name, below the best: {nameless} other settings of a method with as many parameters."
    if any(point.parameters == 0 for point in points):
        text += " Dotted: trains nothing but the head."
    if left_out:
        of_all = f"{left_out} of {left_out + len(points)} methods"
        text += f" Left out for lack of a result in one of them or of a number of parameters: {of_all}."
    return text
