"""What `rocoft sweep` shows: the plan, what is going on, and what came of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, get_args

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from rocoft_bench.cli.columns import aligned
from rocoft_bench.cli.console import TerminalConsole
from rocoft_bench.engine.observer import Observer
from rocoft_bench.execution.job import Outcome
from rocoft_bench.runs import RunDirectory, Status
from rocoft_bench.sweep.plan import CostHistory, Plan, PlannedRun, State
from rocoft_bench.sweep.runner import SweepView

NAMED_RUNS = 24
"""So many runs to do are listed by name; of more, the table alone says enough."""


def plan_lines(plan: Plan, to_do: Sequence[PlannedRun]) -> list[str]:
    """The plan: a line for each task and model, what is wrong, and the runs by name where they are few."""
    header = ["task", "model", "runs", "done", "failed", "to do", "memory each", "time each"]
    chosen = {run.name for run in to_do}
    rows = [_plan_row(list(group), chosen) for _, group in groupby(sorted(plan.runs, key=_group), key=_group)]
    lines = [aligned([header, *rows])]
    if plan.repeated:
        lines.append(f"{plan.repeated} combinations come out as a run that is counted already")
    lines += [f"wrong, will not run: {places}: {error}" for error, places in plan.problems.items()]
    left_out = [run for run in plan.in_state(State.FAILED) if run.name not in chosen]
    if left_out:
        lines.append(f"failed before, left alone (--retry-failed runs them again): {len(left_out)}")
        lines += [f"  {run.record.status if run.record else 'unreadable record'}  {run.name}" for run in left_out]
    if bare := sum(not RunDirectory(run.folder).adapter.is_dir() for run in plan.in_state(State.DONE)):
        lines.append(
            f"done, though their trained values were taken away (delete their folders to run them again): {bare}"
        )
    if len(to_do) <= NAMED_RUNS:
        lines += [f"{run.state:8}  {run.name}" for run in to_do]
    seconds = [run.seconds for run in to_do]
    whole = f", about {duration(sum(filter(None, seconds)))} one after another" if seconds and all(seconds) else ""
    return [*lines, f"{len(plan.runs) + len(plan.invalid)} runs, {len(to_do)} to do{whole}"]


def _group(run: PlannedRun) -> tuple[str, str, str]:
    return run.experiment.config.model.name, run.experiment.task.family, run.experiment.task.name


def _plan_row(runs: list[PlannedRun], chosen: set[str]) -> list[str]:
    experiment = runs[0].experiment
    to_do = [run for run in runs if run.name in chosen]
    memory = [run.memory_mib for run in to_do if run.memory_mib is not None]
    seconds = [run.seconds for run in to_do if run.seconds is not None]
    return [
        f"{experiment.task.family} {experiment.task.name}",
        experiment.config.model.name.rstrip("/").rpartition("/")[2],
        str(len(runs)),
        str(sum(run.state is State.DONE for run in runs)),
        str(sum(run.state is State.FAILED for run in runs)),
        str(len(to_do)),
        f"≤ {max(memory) / 1024:.1f} GiB" if memory else "",
        f"about {duration(sum(seconds) / len(seconds))}" if seconds else "",
    ]


def closing_lines(plan: Plan, to_do: Sequence[PlannedRun], outcomes: Sequence[tuple[PlannedRun, Outcome]]) -> list[str]:
    """What became of the sweep; every failure of this time with its reason and what may help."""
    lines = []
    for run, outcome in outcomes:
        if outcome.is_failure:
            lines += [f"{outcome.status}  {run.name}", f"    {outcome.error}"]
            lines += [f"    hint: {outcome.hint}"] if outcome.hint else []
    lines += [line for error, places in plan.problems.items() for line in (f"wrong  {places}", f"    {error}")]
    ended = Counter(outcome.status for _, outcome in outcomes)
    counts = {
        **{status: ended.pop(status, 0) for status in get_args(Status)},
        "done by another process": ended["elsewhere"],
        "wrong": len(plan.invalid),
        "still to do": len(to_do) - sum(outcome.status != "interrupted" for _, outcome in outcomes),
        "done before": len(plan.in_state(State.DONE)),
    }
    return [*lines, ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"]


@dataclass
class RunProgress(Observer):
    """How far a run is."""

    run: PlannedRun
    started: float = field(default_factory=lambda: time.monotonic())
    phase: str = "loading"
    done: int = 0
    total: int = 0

    def training_started(self, total_steps: int, done_steps: int) -> None:
        self.phase, self.total, self.done = "training", total_steps, done_steps

    def step_done(self, step: int) -> None:
        self.phase, self.done = "training", step

    def evaluation_started(self, total_batches: int) -> None:
        self.phase = "evaluation"

    def logged(self, entry: dict[str, Any]) -> None:
        if "loss" in entry:
            self.phase = f"training, loss {entry['loss']:.4f}"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


class LiveView(SweepView):
    """A context manager: a line for each run that ends, and on a terminal what is running and the time left."""

    def __init__(self, plan: Plan, to_do: Sequence[PlannedRun], slots: int, max_runs: int | None = None) -> None:
        self.console = TerminalConsole(stderr=True)
        self.history = CostHistory(plan.runs)
        self.waiting = {run.name: run for run in to_do[:max_runs]}
        self.total, self.slots = len(self.waiting), slots
        self.running: dict[str, RunProgress] = {}
        self.ended = self.failed = 0
        self.message = f"{slots} at a time"
        self.live = Live(get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveView:
        if self.total and self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def started(self, run: PlannedRun) -> Observer:
        self.waiting.pop(run.name, None)
        self.running[run.name] = RunProgress(run)
        return self.running[run.name]

    def finished(self, run: PlannedRun, outcome: Outcome) -> None:
        self.running.pop(run.name, None)
        if outcome.status == "busy":
            self.waiting[run.name] = run
            return
        self.waiting.pop(run.name, None)
        self.ended += 1
        self.failed += outcome.is_failure
        if outcome.status == "ok":
            self.history.add(run, outcome.seconds)
        said = "  ".join(f"{name} {100 * value:.2f}" for name, value in (outcome.metrics or {}).items())
        self.console.print(
            f"[{self.ended}/{self.total}] {outcome.status}  {run.name}  {said or outcome.error or ''}  "
            f"{duration(outcome.seconds)}",
            markup=False,
            soft_wrap=True,
        )

    def waiting_for(self, runs: list[PlannedRun]) -> None:
        self.message = f"waiting for {len(runs)} runs that other processes are at"

    def stopping(self) -> None:
        self.message = "stopping after the step in flight; Ctrl-C again stops at once"
        self.console.print(self.message, style="yellow")

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for progress in tuple(self.running.values()):
            bar = ProgressBar(total=progress.total or 1, completed=progress.done, width=24)
            table.add_row(progress.run.name, bar, progress.phase, duration(progress.seconds))
        ended = f"{self.ended} of {self.total} ended, {self.failed} of them failed"
        counts = f"{len(self.running)} running, {ended}, {len(self.waiting)} waiting"
        return Group(table, f"{counts}; {self._time_left()}{self.message}")

    def _time_left(self) -> str:
        """From what runs took so far; a running one is as far as its steps."""
        running = [max(0.0, (self.history.seconds(p.run) or 0.0) - p.seconds) for p in tuple(self.running.values())]
        waiting = [self.history.seconds(run) for run in tuple(self.waiting.values())]
        if any(value is None for value in waiting) or not any([*running, *waiting]):
            return ""
        seconds = (sum(running) + sum(value or 0.0 for value in waiting)) / self.slots
        return f"about {duration(seconds)} left; "


def duration(seconds: float) -> str:
    """As two units at most: 41 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
