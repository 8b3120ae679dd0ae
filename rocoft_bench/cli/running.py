"""What commands show of a run: its progress, its notes, its result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rocoft_bench.cli.console import complain, say
from rocoft_bench.engine.interrupt import Interrupted
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.tracking import TrackerName, check_installed, tracked
from rocoft_bench.runs import RunDirectory, RunRecord

if TYPE_CHECKING:
    from rocoft_bench.execution.launch_options import Launch
    from rocoft_bench.experiment.resolve import Experiment


def show_notes(notes: Iterable[str]) -> None:
    """On stderr, beside what a command prints."""
    for note in notes:
        complain(f"note: {note}")


class ShownNotes(Observer):
    """Shows nothing else."""

    def note(self, message: str) -> None:
        show_notes([message])


def shown_run(
    experiment: Experiment, folder: Path, force: bool, track: TrackerName | None = None, launch: Launch | None = None
) -> RunRecord:
    """Make a run and show its progress, in a tracker too; one that was finished already is said to be.

    Raises: typer.Exit with 130 if it is stopped, with 1 if it has no result.
    """
    from rocoft_bench.cli.progress import ProgressDisplay
    from rocoft_bench.execution import launcher

    check_installed(track)
    task, label, seed = experiment.task, experiment.method.label, experiment.config.seed
    title = f"{label} on {task.family} {task.name}, {experiment.config.model.name}, seed {seed}"
    directory = RunDirectory(folder)
    try:
        with ProgressDisplay(title) as display, tracked(display, track, experiment.config, directory) as observer:
            record, was_run = launcher.run(experiment, folder, observer, force, launch)
    except Interrupted:
        complain(f"stopped; the same command resumes from the checkpoint in {folder}")
        raise typer.Exit(130) from None
    if record.status != "ok":
        hint = f"; {record.hint}" if record.hint else ""
        where = f" (record: {directory.record})" if directory.record.is_file() else ""
        complain(f"{record.status}: {record.error}{hint}{where}")
        raise typer.Exit(1)
    if not was_run:
        say(f"already finished: {folder} (--force runs it again)")
    return record


def summary(record: RunRecord, folder: Path) -> str:
    """The result of a run in a few lines."""
    p, estimate = record.parameters, record.memory_estimate_mib
    estimated = f"; estimated {estimate['total']:.0f}" if estimate else ""
    lines = [
        result_line(record),
        *([f"before training: {_percent(record.initial_metrics)}"] if record.initial_metrics else []),
        f"trained {p['trainable']:,} of {p['total']:,} parameters: adapter {p['adapter']:,} "
        f"({p['adapter_weights']:,} weights, {p['adapter_biases']:,} biases), head {p['head']:,}",
        f"training {record.train_seconds:.1f} s, evaluation {record.eval_seconds:.1f} s, "
        f"peak {record.peak_memory_mib:.0f} MiB ({record.peak_memory_kind}{estimated})",
        f"record: {folder / 'record.json'}",
    ]
    return "\n".join(lines)


def result_line(record: RunRecord) -> str:
    """Metrics, and what they were measured on and how."""
    how = f"{record.task['eval_split']} split, {record.data['eval_rows']} examples, {record.keep} epoch"
    return f"{_percent(record.metrics or {})}  ({how}; {record.protocol})"


def _percent(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * value:.2f}" for name, value in metrics.items())
