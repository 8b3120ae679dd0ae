"""Training loss against steps: a small multiple for each task of a table."""

import statistics
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.lines import Line2D
from scipy.signal import savgol_filter

from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.table import Column, Row
from rocoft_bench.report.figures import style
from rocoft_bench.report.figures.figure import Drawing, FigureData, drawing_of, number_in, results_of

METHODS = len(style.SERIES)
"""Lines in a panel at the most."""
SEEDS = 3
"""Runs in a line at the most."""
POINTS = 100
"""Steps at which a run's loss is read."""
WINDOW = 7
"""Points that a running mean is over."""
SMOOTHED = 5 * WINDOW
"""Points that a curve has at least to be smoothed."""
COLUMNS = 2
LISTED = 6
"""Methods that are named where they are left out."""

Curve = tuple[np.ndarray, np.ndarray]


def losses(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each model of each table of runs, where they have a history."""
    for table, model in data.tables_of_runs():
        results, tasks = results_of(table, model)
        rows = sorted(results, key=lambda row: _importance(data, row, tasks))[:METHODS]
        curves = {
            task.key: {row.title: curve for row in rows if (curve := _curve(row, task, data.runs))} for task in tasks
        }
        tasks = [task for task in tasks if curves[task.key]]
        if not tasks:
            continue
        looks = {row.title: look for row, look in zip(rows, style.SERIES, strict=False)}
        looks = {name: look for name, look in looks.items() if any(name in curves[task.key] for task in tasks)}
        names = [style.short(name, 60) for name in looks]
        figure, panels = style.small_multiples([task.title for task in tasks], COLUMNS, names, "step", "training loss")
        for axes, task in zip(panels, tasks, strict=True):
            for name, curve in curves[task.key].items():
                axes.plot(*curve, label=name, **looks[name].line_settings(len(curve[0])))
            axes.locator_params(nbins=3)
        style.legend(figure, [Line2D([], [], **look.line_settings()) for look in looks.values()], names)
        left_out = [row.title for row in results if row.title not in looks]
        yield drawing_of(table, model, figure, _caption(model, left_out), "losses", "Training loss")


def _importance(data: FigureData, row: Row, tasks: Sequence[Column]) -> tuple[bool, int, float]:
    """Ours first, then what has the most tasks, then what did best in them."""
    values = [value for task in tasks if (value := number_in(row, task.key)) is not None]
    return not data.is_ours(row), -len(values), -statistics.mean(values) if values else 0.0


def _curve(row: Row, task: Column, runs: Mapping[str, Run]) -> Curve | None:
    """Steps, and the mean over the first seeds of the loss at them, a running mean; None without a history."""
    found = [runs[id] for id in row.cell(task).runs if id in runs and runs[id].record.status == "ok"]
    known = [curve for run in found[:SEEDS] if (curve := _history(run)) is not None]
    if not known:
        return None
    points = min(POINTS, *(len(steps) for steps, _ in known))
    grid = np.linspace(max(steps[0] for steps, _ in known), min(steps[-1] for steps, _ in known), points)
    loss = np.mean([np.interp(grid, *curve) for curve in known], axis=0)
    # a running mean, lines at the ends
    return grid, savgol_filter(loss, WINDOW, polyorder=1) if points >= SMOOTHED else loss


def _history(run: Run) -> Curve | None:
    """Steps and finite losses of a run; None if there are not two of them."""
    try:
        points = np.array(sorted(run.losses(POINTS)), dtype=float)
    except (OSError, TypeError, ValueError):
        return None
    points = points[np.isfinite(points).all(axis=1)] if points.size else points
    return (points[:, 0], points[:, 1]) if len(points) > 1 else None


def _caption(model: str, left_out: Sequence[str]) -> str:
    text = (
        f"{model}: training loss of each method, mean over its first {SEEDS} seeds, read at {POINTS} steps at "
        f"the most and, where these are at least {SMOOTHED}, smoothed by a running mean over {WINDOW} of them."
    )
    named, more = ", ".join(left_out[:LISTED]), len(left_out) - LISTED
    named += f" and {more} more" if more > 0 else ""
    return text + (f" Left out, for want of room or of a history: {named}." if left_out else "")
