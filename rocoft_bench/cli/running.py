"""What commands show of a run: its progress, its notes, its result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rocoft_bench.cli.console import complain, say
from rocoft_bench.engine.observer import Observer

if TYPE_CHECKING:
    from rocoft_bench.engine.tracking import TrackerName
    from rocoft_bench.experiment.resolve import Experiment
    from rocoft_bench.runs import RunRecord


def show_notes(notes: Iterable[str]) -> None:
    """On stderr, beside what a command prints."""
    for note in notes:
        complain(f"note: {note}")


class ShownNotes(Observer):
    """Shows nothing else."""

    def note(self, message: str) -> None:
        show_notes([message])


@contextmanager
def shown_run(experiment: Experiment, folder: Path, track: TrackerName | None = None) -> Iterator[Observer]:
    """An observer that shows a run's progress, in a tracker too; a run that is stopped ends the program with 130."""
    from rocoft_bench.cli.progress import ProgressDisplay
    from rocoft_bench.engine.interrupt import Interrupted
    from rocoft_bench.engine.tracking import check_installed, tracked
    from rocoft_bench.runs import RunDirectory

    check_installed(track)
    task, label, seed = experiment.task, experiment.method.label, experiment.config.seed
    title = f"{label} on {task.family} {task.name}, {experiment.config.model.name}, seed {seed}"
    directory = RunDirectory(folder)
    try:
        with ProgressDisplay(title) as display, tracked(display, track, experiment.config, directory) as observer:
            yield observer
    except Interrupted:
        complain(f"stopped; the same command resumes from the checkpoint in {folder}")
        raise typer.Exit(130) from None


def check_result(record: RunRecord, was_run: bool, folder: Path) -> None:
    """Say so if a run was finished already; end the program with 1 if it has no result."""
    if record.status != "ok":
        hint = f"; {record.hint}" if record.hint else ""
        where = f" (record: {folder / 'record.json'})" if (folder / "record.json").is_file() else ""
        complain(f"{record.status}: {record.error}{hint}{where}")
        raise typer.Exit(1)
    if not was_run:
        say(f"already finished: {folder} (--force runs it again)")


def summary(record: RunRecord, folder: Path) -> str:
    """The result of a run in a few lines."""
    p = record.parameters
    lines = [
        result_line(record),
        *_before(record),
        f"trained {p['trainable']:,} of {p['total']:,} parameters: adapter {p['adapter']:,} "
        f"({p['adapter_weights']:,} weights, {p['adapter_biases']:,} biases), head {p['head']:,}",
        f"training {record.train_seconds:.1f} s, evaluation {record.eval_seconds:.1f} s, "
        f"peak {record.peak_memory_mib:.0f} MiB ({record.peak_memory_kind}{_estimated(record)})",
        f"record: {folder / 'record.json'}",
    ]
    return "\n".join(lines)


def _estimated(record: RunRecord) -> str:
    estimate = record.memory_estimate_mib
    return f"; estimated {estimate['total']:.0f}" if estimate else ""


def result_line(record: RunRecord) -> str:
    """Metrics, and what they were measured on and how."""
    how = f"{record.task['eval_split']} split, {record.data['eval_rows']} examples, {record.keep} epoch"
    return f"{_percent(record.metrics or {})}  ({how}; {record.protocol})"


def _before(record: RunRecord) -> list[str]:
    return [f"before training: {_percent(record.initial_metrics)}"] if record.initial_metrics else []


def _percent(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {100 * value:.2f}" for name, value in metrics.items())
