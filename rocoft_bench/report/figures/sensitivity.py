"""What the trials of a search scored against the one number that was tuned: how much a method needs the right one."""

from collections.abc import Iterator, Sequence
from itertools import cycle

from matplotlib.lines import Line2D

from rocoft_bench.report.figures import style
from rocoft_bench.report.figures.figure import Drawing, FigureData, key_of
from rocoft_bench.runs import TuningRecord

TICKS = 8
"""Values at the most that stand on the axis by themselves."""


def sensitivity(data: FigureData) -> Iterator[Drawing | str]:
    """A figure for each task and model on which one number was tuned."""
    groups: dict[tuple[str, ...], list[TuningRecord]] = {}
    for stored in data.results.tuning:
        one = stored.record
        tuned = list(one.trials[0].values)
        if len(tuned) == 1 and all(isinstance(trial.values[tuned[0]], int | float) for trial in one.trials):
            groups.setdefault((one.family, one.task, one.model, tuned[0]), []).append(one)
    for (family, task, model, key), searches in groups.items():
        yield _of(f"{family} {task}, {model.rstrip('/').rpartition('/')[2]}", key, searches)


def _of(title: str, key: str, searches: Sequence[TuningRecord]) -> Drawing:
    first, setting = searches[0], key.rpartition(".")[2].replace("_", " ")
    looks = list(zip(searches, cycle(style.SERIES), strict=False))
    names = [style.short(one.label, 40) for one in searches]
    figure, (axes, *_) = style.small_multiples([title], 1, names, setting, f"{first.metric.replace('_', ' ')}, %")
    for one, look in looks:
        scores: dict[float, list[float]] = {}
        for trial in one.trials:
            if trial.score is not None:
                scores.setdefault(trial.values[key], []).append(100 * trial.score)
        points = sorted((value, sum(found) / len(found)) for value, found in scores.items())
        axes.plot(*zip(*points, strict=True), label=one.label, **look.line_settings(len(points)))
    values = sorted({trial.values[key] for trial in first.trials})
    if values[0] > 0 and values[-1] >= 10 * values[0]:
        axes.set_xscale("log")
    if len(values) <= TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.minorticks_off()
    style.legend(figure, [Line2D([], [], **look.line_settings()) for _, look in looks], names)
    caption = (
        f"Trials of tuning: {first.metric.replace('_', ' ')} on {first.hold_out} held-out training examples by "
        f"{setting}, {first.budget} trials a method. A method that needs the one right value is harder to use than a "
        "flat one."
    )
    return Drawing(key_of("sensitivity", title), f"Sensitivity to the {setting}: {title}", caption, figure)
