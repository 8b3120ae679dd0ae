"""What a kernel foretells of training, over methods: its distance from that of all parameters, and the accuracy of
regression with it, against the accuracy of fine-tuning.
"""

import statistics
from collections.abc import Iterator

from matplotlib.axes import Axes
from scipy.stats import kendalltau

from rocoft_bench.analysis.table import Table
from rocoft_bench.report.figures import style
from rocoft_bench.report.figures.figure import Drawing, FigureData, key_of, number_in
from rocoft_bench.report.tables.kernels_against_training import ACCURACY, DISTANCE, FINE_TUNED, KEY

PANELS = {
    DISTANCE: "distance of the kernel from K_θ (p = 2)",
    ACCURACY: "accuracy of kernel regression (%)",
}
VALUES = (*PANELS, FINE_TUNED)

Points = dict[str, dict[str, float]]
"""By method the mean of each value over the tasks."""


def kernels_against_training(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each such table in which several methods were fine-tuned too."""
    for table in data.tables:
        if table.key.startswith(KEY):
            tasks, points = _points(table)
            if len(points) > 1:
                yield _drawing(table, tasks, points)


def _points(table: Table) -> tuple[list[str], Points]:
    """Of the methods that have everything, over the tasks that all of them have."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in table.rows:
        values = {key: value for key in VALUES if (value := number_in(row, key)) is not None}
        if len(values) == len(VALUES):
            found.setdefault(row.method, {})[row.variant] = values
    tasks = sorted(set.intersection(*(set(own) for own in found.values()))) if found else []
    if not tasks:
        return [], {}
    return tasks, {
        method: {key: statistics.mean(own[task][key] for task in tasks) for key in VALUES}
        for method, own in found.items()
    }


def _drawing(table: Table, tasks: list[str], points: Points) -> Drawing:
    figure, panels = style.panels(1, len(PANELS), 3.6, (0.6, 0.25, 0.55, 0.15), (0.08, 0), sharey=True)
    for axes, (key, title) in zip(panels, PANELS.items(), strict=True):
        _draw(axes, key, points)
        axes.set_xlabel(title)
    panels[0].set_ylabel("accuracy of fine-tuning (%)")
    caption = (
        f"Each point is a method; means over {', '.join(tasks)}, and over the draws. {_agreement(points)} The dotted "
        "line is where both accuracies are equal."
    )
    return Drawing(key_of(table.key), table.title, caption, figure, table=table.key)


def _draw(axes: Axes, key: str, points: Points) -> None:
    axes.grid()
    xs, ys = ([own[name] for own in points.values()] for name in (key, FINE_TUNED))
    axes.scatter(xs, ys, s=26, color=style.INK, zorder=3)
    for limits, values in ((axes.set_xlim, xs), (axes.set_ylim, ys)):
        margin = max(0.25 * (max(values) - min(values)), 0.01 * max(map(abs, values)), 0.01)
        limits(min(values) - margin, max(values) + margin)
    if key == ACCURACY:
        axes.axline((0, 0), slope=1, linestyle=":", linewidth=1, color=style.INK, alpha=0.6)
    style.place_labels(
        axes, [style.Label(style.short(name), own[key], own[FINE_TUNED]) for name, own in points.items()]
    )


def _agreement(points: Points) -> str:
    """Whether the orders of the methods agree."""
    tuned = [own[FINE_TUNED] for own in points.values()]
    said = []
    for key, name in ((DISTANCE, "nearness of the kernel"), (ACCURACY, "kernel accuracy")):
        sign = -1 if key == DISTANCE else 1
        found = kendalltau([sign * own[key] for own in points.values()], tuned)
        said.append(f"{name} {found.statistic:.2f} (p = {found.pvalue:.2f})")
    return f"Kendall's τ with fine-tuned accuracy over {len(points)} methods: {', '.join(said)}."
