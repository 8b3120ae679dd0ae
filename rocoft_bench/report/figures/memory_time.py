"""Memory and time of each method (the paper's Figure 2), from tables of benches; without any, from runs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from rocoft_bench.analysis.groups import Key, group_compatible
from rocoft_bench.analysis.naming import UNKNOWN, hardware, model_key, model_name
from rocoft_bench.analysis.pivot import stat_of
from rocoft_bench.analysis.table import Row, Stat, Table
from rocoft_bench.report.figures import style
from rocoft_bench.report.figures.figure import Drawing, key_of
from rocoft_bench.report.figures.values import FigureData, number_in
from rocoft_bench.runs import RunRecord

BAR = 0.27
"""Inches for each method."""
MODEL, TRAINING = "#0072b2", "#009e73"
NUMBER = "Figure 2"


@dataclass(frozen=True)
class Cost:
    """Of one method. memory: MiB, of the model before training and what training adds, or the peak alone."""

    name: str
    is_ours: bool
    memory: tuple[float, ...]
    seconds_per_step: Stat
    minutes_per_epoch: Stat | None

    def time(self, by_epoch: bool) -> Stat:
        return (self.minutes_per_epoch if by_epoch else None) or self.seconds_per_step


def memory_time(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each table of benches; without any, for the runs on each model and machine."""
    benches = [table for table in data.tables if table.number == NUMBER]
    yield from (_of_table(data, table) for table in benches) if benches else _of_runs(data)


def _of_table(data: FigureData, table: Table) -> Drawing | str:
    if (machine := table.conditions.get("Hardware", UNKNOWN)) == UNKNOWN:
        return f"{table.title}: no figure, the benches do not say what hardware they were made on"
    costs = [cost for row in table.rows if (cost := _row_cost(row, data.is_ours(row))) is not None]
    if not costs:
        return f"{table.title}: no figure, no bench has both memory and time"
    model = ", ".join(table.models)
    caption = f"{model} on {machine}, batches of {table.conditions.get('Batch', 'unknown size')}. Left: memory of the "
    caption += "model before training and what training adds at its peak."
    return _drawing(key_of("memory-time", table.key), table.title, caption, costs, table.key)


def _row_cost(row: Row, is_ours: bool) -> Cost | None:
    keys = "model_memory_mib", "optimization_memory_mib", "seconds_per_step", "epoch_minutes"
    model, training, step, epoch = (number_in(row.cells.get(key)) for key in keys)
    if model is None or training is None or step is None:
        return None
    return Cost(row.title, is_ours, (_value(model), _value(training)), step, epoch)


def _value(part: Stat) -> float:
    return math.nan if part.value is None else part.value


def _of_runs(data: FigureData) -> Iterator[Drawing | str]:
    """For each model and machine the task that the most methods were trained on."""
    measured = [run for run in data.results.runs if _is_complete(run.record)]
    known = [run for run in measured if hardware(run.provenance) != UNKNOWN]
    if len(known) < len(measured):
        yield f"memory and time: {len(measured) - len(known)} runs left out, which do not name their hardware"
    for group in group_compatible(known, lambda run: (*model_key(run.record.model), hardware(run.provenance))):
        records = max(
            group_compatible([run.record for run in group], _work), key=lambda own: len({r.label for r in own})
        )
        first, model, machine = records[0], model_name(group[0].record.model), hardware(group[0].provenance)
        caption = (
            f"Training runs, not benches: {model}, {first.task['name']} ({first.data.get('train_rows')} examples), on "
            f"{machine}, each method with its own batch size. Left: peak memory, {first.peak_memory_kind}."
        )
        title = f"{model}, {first.task['name']}, {machine}"
        if len(costs := _costs(records, data.ours)) > 1:
            yield _drawing(key_of("memory-time", model, machine), title, caption, costs)


def _is_complete(record: RunRecord) -> bool:
    return record.status == "ok" and None not in (record.peak_memory_mib, record.train_seconds) and bool(record.steps)


def _work(record: RunRecord) -> Key:
    """What has to be the same for times and memory to be compared."""
    rows = record.data.get("train", {}).get("sha256"), record.data.get("train_rows")
    return record.task["name"], *rows, record.processes, record.peak_memory_kind


def _costs(records: Sequence[RunRecord], ours: str) -> list[Cost]:
    """The mean over seeds of each method, and of each of its settings if there are several."""
    costs: list[Cost] = []
    for own in group_compatible(records, lambda record: (record.label, record.settings_hash)):
        label = own[0].label
        others = sum(cost.name.split(", settings ")[0] == label for cost in costs)
        name = f"{label}, settings {others + 1}" if others else label
        memory = max(record.peak_memory_mib or 0.0 for record in own)
        seconds = [(record.train_seconds or 0.0) / (record.steps or 1) for record in own]
        epochs = [(record.train_seconds or 0.0) / 60 / count for record in own if (count := _epochs(record))]
        epoch = stat_of(epochs) if len(epochs) == len(own) else None
        costs.append(Cost(name, own[0].method.get("name") == ours, (memory,), stat_of(seconds), epoch))
    return costs


def _epochs(record: RunRecord) -> int | None:
    return len(record.epoch_metrics) or (record.kept_epoch if record.keep == "last" else None)


def _drawing(key: str, title: str, caption: str, costs: list[Cost], table: str | None = None) -> Drawing:
    by_epoch = all(cost.minutes_per_epoch for cost in costs)
    unit = "minutes per epoch" if by_epoch else "seconds per step"
    costs = sorted(costs, key=lambda cost: _value(cost.time(by_epoch)))
    times = [cost.time(by_epoch) for cost in costs]
    figure = style.new_figure(0.95 + BAR * len(costs))
    left, right = figure.subplots(1, 2, sharey=True)
    names = [style.short(cost.name) for cost in costs]
    margin = 0.15 + style.LETTER * max(map(len, names))
    style.place(figure, left=margin, right=0.2, bottom=0.5, top=0.4, wspace=0.12)
    _memory_bars(left, costs)
    _time_bars(right, costs, times)
    left.set(yticks=range(len(names)), yticklabels=names, ylim=(len(names) - 0.4, -0.6), xlabel="memory (MiB)")
    right.set_xlabel(unit)
    for axes in (left, right):
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=4)
    style.legend(figure, *left.get_legend_handles_labels())
    caption += f" Right: {unit} of training."
    caption += " Error bars: standard deviation over seeds." if any(time.deviation for time in times) else ""
    number = NUMBER if table is not None else None
    return Drawing(key, f"Memory and time: {title}", caption, figure, number, table)


def _memory_bars(axes: Axes, costs: Sequence[Cost]) -> None:
    """Stacked, or one bar where only the peak is known."""
    names = ("model", "training") if len(costs[0].memory) > 1 else ("peak",)
    starts = [0.0] * len(costs)
    for index, (name, colour, hatch) in enumerate(zip(names, (MODEL, TRAINING), ("", "///"), strict=False)):
        values = [cost.memory[index] for cost in costs]
        axes.barh(range(len(costs)), values, 0.7, starts, facecolor=colour, hatch=hatch, linewidth=0, label=name)
        starts = values


def _time_bars(axes: Axes, costs: Sequence[Cost], times: Sequence[Stat]) -> None:
    error = {"elinewidth": 1}
    for place, (cost, time) in enumerate(zip(costs, times, strict=True)):
        colour = style.OURS if cost.is_ours else style.OTHERS
        axes.barh(place, _value(time), 0.7, xerr=time.deviation, facecolor=colour, ecolor=style.INK, error_kw=error)
