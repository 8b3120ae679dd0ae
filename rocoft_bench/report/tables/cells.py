"""Cells made of runs: means and deviations over seeds beside the paper's numbers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from rocoft_bench import paper
from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.table import Cell, Stat


def task_cell(
    metrics: Sequence[str],
    paper_task: str | None,
    runs: Sequence[Run],
    printed: Mapping[tuple[str, str], paper.PaperResult],
    comparable: bool,
) -> Cell:
    """A task's cell: a number for each metric, mean and deviation over seeds in percent.

    printed: the paper's results by (task, metric). comparable: whether differences to them mean anything.
    """
    finished = [run.record.metrics for run in runs if run.record.metrics]
    parts = []
    for name in metrics:
        values = [100 * scores[name] for scores in finished if name in scores]
        result = printed.get((paper_task or "", name))
        parts.append(part(values, result.value if result else None, comparable))
    return Cell(tuple(parts), runs=tuple(run.id for run in runs), failures=failures(runs))


def failures(runs: Sequence[Run]) -> tuple[str, ...]:
    """The statuses of the runs without a result."""
    statuses = [run.record.status for run in runs if not run.record.metrics]
    return tuple("no result" if status == "ok" else status for status in statuses)


def part(values: Sequence[float], reference: float | None, comparable: bool) -> Stat:
    mean = statistics.mean(values) if values else None
    difference = mean - reference if comparable and mean is not None and reference is not None else None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return Stat(mean, deviation, len(values), reference, difference=difference)


def count(runs: Sequence[Run], kind: str) -> Cell:
    """A number of parameters; where the runs differ in it, the largest, and both ends as text."""
    counts = sorted({run.record.parameters[kind] for run in runs if run.record.parameters})
    if not counts:
        return Cell(parts=(Stat(),))
    text = f"{counts[0]:,} … {counts[-1]:,}" if len(counts) > 1 else ""
    return Cell((Stat(counts[-1]),), text)


def costs(runs: Sequence[Run]) -> dict[str, Cell]:
    """Seconds of training, the mean over runs; peak memory, the largest."""
    finished = [run.record for run in runs if run.record.status == "ok"]
    seconds = [record.train_seconds for record in finished if record.train_seconds is not None]
    memory = [record.peak_memory_mib for record in finished if record.peak_memory_mib is not None]
    return {
        "train_seconds": Cell((Stat(statistics.mean(seconds) if seconds else None),)),
        "peak_memory_mib": Cell((Stat(max(memory, default=None)),)),
    }
