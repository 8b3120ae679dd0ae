"""The loop of a sweep, with an executor that ends runs when the test says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from rocoft_bench.config import Settings
from rocoft_bench.engine.observer import Observer
from rocoft_bench.execution.channel import Request
from rocoft_bench.execution.diagnosis import failure_record
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import Failure, RunDirectory, write_json
from rocoft_bench.sweep import runner as runner_module
from rocoft_bench.sweep.plan import PlannedRun, State
from rocoft_bench.sweep.runner import Runner, SweepView
from tests.execution.conftest import make_job


class Scripted:
    """Each job ends at once with what `outcome` makes of it."""

    def __init__(self, outcome: Callable[[Job], Outcome], slots: int = 2) -> None:
        self.slots, self.outcome = slots, outcome
        self.started: list[str] = []
        self.open: list[Future[Outcome]] = []
        self.calls: list[str] = []

    def submit(self, job: Job, observer: Observer) -> Future[Outcome]:
        self.started.append(Path(job.folder).name)
        assert sum(not future.done() for future in self.open) < self.slots
        future: Future[Outcome] = Future()
        self.open.append(future)
        outcome = self.outcome(job)
        if outcome.status != "never":
            future.set_result(outcome)
        return future

    def ask(self, request: Request) -> None:
        self.calls.append(request)
        for future in self.open:
            if request is Request.KILL and not future.done():
                future.set_result(Outcome("interrupted"))

    def close(self) -> None:
        self.calls.append("close")


def planned(folder: Path, count: int) -> list[PlannedRun]:
    experiment = resolve(Settings({"task": {"family": "glue", "name": "rte"}}))
    return [PlannedRun({}, experiment, [], None, folder / f"task/run{i}", State.TO_DO) for i in range(count)]


def runner_for(runs: list[PlannedRun], executor: Scripted, **options: object) -> Runner:
    return Runner(runs, executor, SweepView(), lambda run: run.job([]), **options)  # type: ignore[arg-type]


def statuses(runner: Runner) -> list[str]:
    return [outcome.status for _, outcome in sorted(runner.run(), key=lambda pair: pair[0].name)]


def by_number(special: dict[int, str]) -> Callable[[Job], Outcome]:
    return lambda job: Outcome(special.get(int(job.folder[-1]), "ok"))


def test_every_run_is_started_once_in_order(tmp_path: Path) -> None:
    executor = Scripted(by_number({1: "nan"}))
    assert statuses(runner_for(planned(tmp_path, 5), executor)) == ["ok", "nan", "ok", "ok", "ok"]
    assert executor.started == [f"run{i}" for i in range(5)]
    assert executor.calls == ["close"]


def test_max_runs_limits_what_is_started(tmp_path: Path) -> None:
    executor = Scripted(by_number({0: "elsewhere"}), slots=1)
    assert statuses(runner_for(planned(tmp_path, 5), executor, max_runs=2)) == ["elsewhere", "ok", "ok"]


def test_stop_on_error_starts_nothing_after_a_failure(tmp_path: Path) -> None:
    executor = Scripted(by_number({1: "oom"}), slots=1)
    assert statuses(runner_for(planned(tmp_path, 5), executor, stop_on_error=True)) == ["ok", "oom"]


def finish(folder: Path) -> None:
    """What another sweep would leave of a run that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    record = failure_record(make_job(folder), Failure("nan", "there", None))
    write_json(folder / "record.json", record.model_dump())


def test_what_another_process_is_at_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "BUSY_SECONDS", 0.0)
    runs = planned(tmp_path, 3)
    busy_once = {"run0": iter(["busy", "ok"]), "run1": iter(["busy"]), "run2": iter(["ok"])}

    def outcome(job: Job) -> Outcome:
        if job.folder.endswith("run1"):
            finish(Path(job.folder))
        return Outcome(next(busy_once[Path(job.folder).name]))

    executor = Scripted(outcome)
    found = {run.folder.name: outcome.status for run, outcome in runner_for(runs, executor).run()}
    assert found == {"run0": "ok", "run1": "elsewhere", "run2": "ok"}
    assert sorted(executor.started) == ["run0", "run0", "run1", "run2"]


def test_a_run_stays_busy_as_long_as_its_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "BUSY_SECONDS", 0.0)
    runs = planned(tmp_path, 1)
    looks: list[int] = []

    class View(SweepView):
        def waiting_for(self, runs: list[PlannedRun]) -> None:
            looks.append(len(runs))
            if len(looks) == 3:
                lock.__exit__(None, None, None)

    lock = RunDirectory(runs[0].folder).locked()
    lock.__enter__()
    tries = iter(["busy", "ok"])
    executor = Scripted(lambda job: Outcome(next(tries)))
    runner = Runner(runs, executor, View(), lambda run: run.job([]))
    assert statuses(runner) == ["ok"]
    assert looks == [1, 1, 1]


def test_the_first_signal_asks_and_the_second_kills(tmp_path: Path) -> None:
    class Impatient(Scripted):
        def submit(self, job: Job, observer: Observer) -> Future[Outcome]:
            future = super().submit(job, observer)
            if len(self.open) == self.slots:
                os.kill(os.getpid(), signal.SIGINT)
            return future

        def ask(self, request: Request) -> None:
            super().ask(request)
            if request is Request.STOP:
                os.kill(os.getpid(), signal.SIGINT)

    executor = Impatient(lambda job: Outcome("never"))
    runner = runner_for(planned(tmp_path, 5), executor)
    assert statuses(runner) == ["interrupted", "interrupted"]
    assert executor.calls == ["stop", "kill", "close"]
    assert runner.stopped
    assert executor.started == ["run0", "run1"]
