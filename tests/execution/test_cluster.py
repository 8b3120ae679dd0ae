"""Jobs on other machines: they are followed, told to end, and begun again when their machine is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.engine.observer import Observer
from rocoft_bench.execution import cluster
from rocoft_bench.execution.channel import Channel, Request
from rocoft_bench.execution.cluster import ClusterExecutor, LostError, RemoteRun
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.execution.run_process import RunProcess
from rocoft_bench.runs import RunDirectory
from tests.execution.conftest import make_job


class LosesJobs(ClusterExecutor):
    """Each submission ends as the next of `ends` says: an outcome, None for never, or what is said of a lost job."""

    poll_seconds = 0.05

    def __init__(self, output: Path, ends: list[Outcome | str | None]) -> None:
        super().__init__(1, output)
        self.ends, self.cancelled = ends, 0

    def _submit(self, job: Job, channel: Channel) -> Any:
        return self.ends.pop(0)

    def _outcome(self, handle: Any) -> Outcome | None:
        if isinstance(handle, str):
            raise LostError(handle)
        return handle

    def _cancel(self, handle: Any) -> None:
        self.cancelled += 1


class Steps(Observer):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def step_done(self, step: int) -> None:
        self.steps.append(step)


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_a_lost_run_is_begun_again(tmp_path: Path) -> None:
    executor = LosesJobs(tmp_path / "out", ["node died", "node died", Outcome("ok")])
    assert executor.submit(make_job(tmp_path / "run"), Observer()).result().status == "ok"
    executor.close()
    assert not list((tmp_path / "out").iterdir())


def test_a_run_that_is_lost_for_good_is_on_record(tmp_path: Path) -> None:
    executor = LosesJobs(tmp_path, ["node died"] * (1 + cluster.RETRIES))
    outcome = executor.submit(make_job(tmp_path / "run"), Observer()).result()
    record = RunDirectory(tmp_path / "run").read_record()
    assert record.status == outcome.status == "crashed"
    assert str(record.error).endswith("node died")
    assert executor.ends == []


def test_what_waits_in_the_queue_is_taken_out_of_it(tmp_path: Path) -> None:
    executor = LosesJobs(tmp_path, [None])
    outcome = executor.submit(make_job(tmp_path / "run"), Observer())
    executor.ask(Request.STOP)
    assert (outcome.result().status, executor.cancelled) == ("interrupted", 1)


def test_a_job_that_does_not_end_when_it_is_told_to_is_taken_from_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "KILL_SECONDS", 0.1)
    executor = LosesJobs(tmp_path, [None])
    outcome = executor.submit(make_job(tmp_path / "run"), Observer())
    wait_for(lambda: executor._channels)
    next(iter(executor._channels)).begin()
    executor.ask(Request.STOP)
    time.sleep(0.3)
    assert not outcome.done()
    executor.ask(Request.KILL)
    assert (outcome.result().status, executor.cancelled) == ("interrupted", 1)


@pytest.mark.parametrize("request_", list(Request))
def test_events_and_requests_pass_through_the_shared_folder(
    request_: Request, process: Callable[..., RunProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made, observer = process("channel.step_done(7); time.sleep(60)"), Steps()
    with ThreadPoolExecutor(1) as pool, made.channel.relay_events(observer):
        assert not made.channel.has_begun
        outcome = pool.submit(RemoteRun(made.job, made.channel, made.environment))
        wait_for(lambda: observer.steps == [7])
        assert made.channel.has_begun
        made.channel.ask(request_)
        assert outcome.result(60).status == "interrupted"


def test_a_folder_that_a_node_does_not_share_is_named(tmp_path: Path) -> None:
    outcome = RemoteRun(make_job(tmp_path / "run"), Channel(tmp_path / "none"), {})()
    assert outcome.is_failure
    assert str(tmp_path / "none") in str(outcome.error)
    assert not (tmp_path / "run").exists()
