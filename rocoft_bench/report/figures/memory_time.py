"""Memory and time of each method (the paper's Figure 2), from tables of benches; without any, of runs."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from rocoft_bench.analysis.naming import UNKNOWN
from rocoft_bench.analysis.run_costs import run_cost_tables
from rocoft_bench.analysis.table import Row, Table
from rocoft_bench.report.figures import style
from rocoft_bench.report.figures.figure import Drawing, FigureData, key_of, number_in

BAR = 0.27
"""Inches for each method."""
NUMBER = "Figure 2"

STACKED = {"model": ("model_memory_mib", "#0072b2", ""), "training": ("optimization_memory_mib", "#009e73", "///")}
PEAK = {"peak": ("peak_memory_mib", "#0072b2", "")}
"""Bars of memory, from the left: the column, the colour and the hatch of each."""

Bars = dict[str, tuple[str, str, str]]


def memory_time(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each table of benches; without any, for the runs on each model and machine."""
    benches = [table for table in data.tables if table.number == NUMBER]
    for table in benches:
        yield _of_benches(data, table)
    for of_runs in () if benches else run_cost_tables(data.results.runs):
        yield of_runs if isinstance(of_runs, str) else _of_runs(data, of_runs)


def _of_benches(data: FigureData, table: Table) -> Drawing | str:
    if (machine := table.conditions.get("Hardware", UNKNOWN)) == UNKNOWN:
        return f"{table.title}: no figure, the benches do not say what hardware they were made on"
    needed = [column for column, _, _ in STACKED.values()] + ["seconds_per_step"]
    rows = [row for row in table.rows if all(number_in(row, key) is not None for key in needed)]
    if not rows:
        return f"{table.title}: no figure, no bench has both memory and time"
    caption = (
        f"{', '.join(table.models)} on {machine}, batches of {table.conditions.get('Batch', 'unknown size')}. Left: "
        "memory of the model before training and what training adds at its peak."
    )
    return _drawing(data, table, rows, STACKED, caption)


def _of_runs(data: FigureData, table: Table) -> Drawing:
    model, machine, examples, memory = (table.conditions[key] for key in ("Model", "Hardware", "Data", "Memory"))
    caption = (
        f"Training runs, not benches: {model}, {examples}, on {machine}, each method with its own batch size. "
        f"Left: peak memory, {memory}."
    )
    return _drawing(data, table, table.rows, PEAK, caption)


def _drawing(data: FigureData, table: Table, rows: Sequence[Row], memory: Bars, caption: str) -> Drawing:
    by_epoch = all(number_in(row, "epoch_minutes") is not None for row in rows)
    time, unit = ("epoch_minutes", "minutes per epoch") if by_epoch else ("seconds_per_step", "seconds per step")
    rows = sorted(rows, key=lambda row: number_in(row, time) or 0.0)
    names = [style.in_two_lines(row.title) for row in rows]
    margin = 0.15 + style.LETTER * max(len(line) for name in names for line in name.split("\n"))
    height = 0.95 + BAR * len(rows)
    figure, (left, right) = style.panels(1, 2, height, (margin, 0.2, 0.5, 0.4), (0.12, 0), sharey=True)
    _memory_bars(left, rows, memory)
    _time_bars(right, rows, time, [style.OURS if data.is_ours(row) else style.OTHERS for row in rows])
    left.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6), xlabel="memory (MiB)")
    right.set_xlabel(unit)
    for axes in (left, right):
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=4)
    style.legend(figure, *left.get_legend_handles_labels())
    caption += f" Right: {unit} of training."
    if any(row.cells[time].parts[0].deviation for row in rows):
        caption += " Error bars: standard deviation over seeds."
    key, title = key_of("memory-time", table.key), f"Memory and time: {table.title}"
    return Drawing(key, title, caption, figure, table.number, table.key if table.number else None)


def _memory_bars(axes: Axes, rows: Sequence[Row], memory: Bars) -> None:
    starts = np.zeros(len(rows))
    for name, (key, colour, hatch) in memory.items():
        values = [number_in(row, key) or 0.0 for row in rows]
        axes.barh(range(len(rows)), values, 0.7, starts, facecolor=colour, hatch=hatch, linewidth=0, label=name)
        starts = starts + values


def _time_bars(axes: Axes, rows: Sequence[Row], key: str, colours: Sequence[str]) -> None:
    for place, (row, colour) in enumerate(zip(rows, colours, strict=True)):
        deviation = row.cells[key].parts[0].deviation
        axes.barh(place, number_in(row, key) or 0.0, 0.7, xerr=deviation, facecolor=colour, error_kw=style.ERROR_BAR)
