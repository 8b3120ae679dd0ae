"""What a sweep shows while it goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from rocoft_bench.cli.sweep_view import LiveView, closing_lines, duration
from rocoft_bench.config import Settings
from rocoft_bench.execution.job import Outcome
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.sweep.plan import Plan, PlannedRun, State


def planned(count: int) -> Plan:
    experiment = resolve(Settings({"task": {"family": "glue", "name": "rte"}}))
    return Plan([PlannedRun("", experiment, [], None, Path(f"glue-rte/run{i}"), State.TO_DO) for i in range(count)])


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the view goes by, in a list of one."""
    clock = [100.0]
    monkeypatch.setattr("rocoft_bench.cli.sweep_view.time.monotonic", lambda: clock[0])
    return clock


def shown(view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(view._render())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_running_runs_counts_and_the_time_left(now: list[float]) -> None:
    plan = planned(5)
    view = LiveView(plan, plan.runs, slots=2)
    view.console = Console(file=io.StringIO(), width=200)
    for run in plan.runs[:2]:
        view.started(run)
    assert "left" not in shown(view)  # nothing is known yet
    now[0] += 20
    view.finished(plan.runs[0], Outcome("ok", metrics={"accuracy": 0.5}, seconds=20.0))
    view.finished(plan.runs[1], Outcome("nan", error="the loss is nan", seconds=20.0))
    progress = [view.started(run) for run in plan.runs[2:4]]
    progress[0].training_started(10, 0)
    progress[0].step_done(4)
    progress[0].logged({"step": 4, "loss": 0.25, "learning_rate": 0.1})
    progress[1].evaluation_started(3)
    now[0] += 5
    text = shown(view)
    assert "glue-rte/run2" in text
    assert "training, loss 0.2500  5 s" in text
    assert "evaluation" in text
    # two runs have 15 s to go, one has 20, and two go on at a time
    assert "2 running, 2 of 5 ended, 1 of them failed, 1 waiting; about 25 s left" in text
    lines = view.console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines == [
        "[1/5] ok  glue-rte/run0  accuracy 50.00  20 s",
        "[2/5] nan  glue-rte/run1  the loss is nan  20 s",
    ]


def test_a_run_that_another_process_has_waits_again() -> None:
    plan = planned(1)
    view = LiveView(plan, plan.runs, slots=1)
    view.started(plan.runs[0])
    view.finished(plan.runs[0], Outcome("busy"))
    view.waiting_for(plan.runs)
    assert "0 running, 0 of 1 ended, 0 of them failed, 1 waiting; waiting for 1 runs that other" in shown(view)


def test_the_end_counts_every_run_once() -> None:
    plan = planned(6)
    plan.runs[5].state = State.DONE
    to_do = plan.to_do(retry_failed=False)
    ends = [Outcome("ok"), Outcome("oom", "out of memory", "smaller"), Outcome("elsewhere"), Outcome("interrupted")]
    lines = closing_lines(plan, to_do, list(zip(to_do, ends, strict=False)))
    assert lines[:3] == ["oom  glue-rte/run1", "    out of memory", "    hint: smaller"]
    assert lines[-1] == "1 ok, 1 oom, 1 interrupted, 1 done by another process, 2 still to do, 1 done before"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (5340, "89 min"), (7260, "2 h 1 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
