"""A run in a process of its own: every way to end becomes an outcome and, unless it was stopped, a record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from rocoft_bench.engine.observer import Observer
from rocoft_bench.execution import run_process
from rocoft_bench.execution.channel import Request
from rocoft_bench.execution.job import record_mtime
from rocoft_bench.execution.run_process import RunProcess
from rocoft_bench.runs import RunDirectory, RunRecord
from tests.execution.conftest import RECORD, make_job

Process = Callable[..., RunProcess]


def record_of(run: RunProcess) -> RunRecord:
    return RunDirectory(Path(run.job.folder)).read_record()


@pytest.mark.parametrize(
    ("code", "status", "error", "hint"),
    [
        ("print('almost'); sys.stdout.flush(); os.kill(os.getpid(), 9)", "crashed", "ended by SIGKILL", "ended it"),
        ("os.kill(os.getpid(), 15); time.sleep(9)", "crashed", "ended by SIGTERM", "ended it"),
        ("os.abort()", "crashed", "ended by SIGABRT", "log_tail"),
        ("raise MemoryError", "oom", "out of memory: MemoryError", "smaller training.batch_size"),
        ("os.write(2, b'std::bad_alloc\\n'); os.abort()", "oom", "std::bad_alloc", "smaller training.batch_size"),
        (
            RECORD + "channel.report_failure(Failure('failed', 'no such model')); sys.exit(2)",
            "failed",
            "no such model",
            "mend what it names",
        ),
        ("raise OSError(28, 'No space left on device')", "failed", "No space left on device", "make room"),
        ("1 / 0", "failed", "exit code 1: ZeroDivisionError: division by zero", None),
        (RECORD + "record('nan'); sys.exit(1)", "nan", "own words", "own hint"),
    ],
)
def test_what_goes_wrong_is_on_record(process: Process, code: str, status: str, error: str, hint: str | None) -> None:
    run = process(code)
    outcome = run.run()
    record = record_of(run)
    assert outcome.status == record.status == status
    assert error in str(outcome.error)
    assert record.error == outcome.error
    assert (hint or "None") in str(record.hint)
    assert (record.task["name"], record.seed, record.label) == ("rte", 0, "RoCoFT-3-Row")


def test_the_last_lines_of_the_log_are_in_the_record_and_all_of_it_in_the_folder(process: Process) -> None:
    run = process("for i in range(50): print('line', i)\nos.abort()")
    run.run()
    assert record_of(run).log_tail == [f"line {i}" for i in range(30, 50)]
    assert run.directory.log.read_text().splitlines() == [f"line {i}" for i in range(50)]


def test_the_log_of_a_process_that_shared_the_run_is_kept(process: Process) -> None:
    run = process(RECORD + "print('outside')\nrecord('crashed', log_tail=['inside'])\nsys.exit(1)")
    run.run()
    assert record_of(run).log_tail == ["inside"]


def test_memory_kills_of_the_system_are_told_apart(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter([3, 4])
    monkeypatch.setattr(run_process, "memory_kills", lambda: next(kills))
    outcome = process("os.kill(os.getpid(), 9)").run()
    assert (outcome.status, outcome.error) == ("oom", "the system ran out of memory and killed the process")


def test_a_good_end_and_an_event_after_an_unfinished_line(process: Process) -> None:
    seen: list[Any] = []

    class Listener(Observer):
        def step_done(self, step: int) -> None:
            seen.append(step)

    code = (
        RECORD + "print('50%', end='', flush=True)\nchannel.step_done(7)\n"
        "print(' a warning')\nrecord('ok', metrics={'accuracy': 0.5}, error=None, hint=None)"
    )
    run = process(code)
    with run.channel.relay_events(Listener()):
        outcome = run.run()
    assert (outcome.status, outcome.metrics, seen) == ("ok", {"accuracy": 0.5}, [7])
    assert run.directory.log.read_text() == "50% a warning\n"
    assert not run.directory.is_busy()


def test_a_run_that_takes_too_long_is_ended_and_says_so(process: Process) -> None:
    started = time.monotonic()
    outcome = process("time.sleep(60)", timeout_seconds=1.0).run()
    assert (outcome.status, outcome.error) == ("timeout", "not finished after 0.0166667 minutes")
    assert time.monotonic() - started < 20


def test_its_own_record_of_the_interruption_becomes_one_of_the_time_out(process: Process) -> None:
    code = RECORD + "signal.signal(15, lambda *_: (record('interrupted', steps=5), sys.exit(130)))\ntime.sleep(60)"
    run = process(code, timeout_seconds=3.0)
    assert run.run().status == "timeout"
    assert (record_of(run).status, record_of(run).steps) == ("timeout", 5)


def test_stopping_asks_and_killing_does_not(process: Process) -> None:
    polite = "signal.signal(15, lambda *_: sys.exit(130))\n(folder / 'up').touch()\ntime.sleep(60)"
    stubborn = polite.replace("sys.exit(130)", "None")
    for code, request in ((polite, Request.STOP), (stubborn, Request.KILL)):
        run = process(code)
        outcome: list[Any] = []
        thread = threading.Thread(target=lambda run=run, outcome=outcome: outcome.append(run.run()))
        thread.start()
        while not (run.directory.path / "up").exists():
            time.sleep(0.05)
        run.channel.ask(request)
        thread.join(20)
        assert outcome[0].status == "interrupted"
        assert not run.directory.record.exists()
        (run.directory.path / "up").unlink()


@pytest.mark.parametrize(("evaluations", "status"), [([], "ok"), (["qnli"], "interrupted")])
def test_a_run_that_is_stopped_after_its_result_is_done(process: Process, evaluations: list[str], status: str) -> None:
    """Libraries take their time to end a process; a further evaluation may be what it was at."""
    run = process(RECORD + "record('ok', metrics={'accuracy': 0.5})\ntime.sleep(60)", evaluations=evaluations)
    outcome: list[Any] = []
    thread = threading.Thread(target=lambda: outcome.append(run.run()))
    thread.start()
    while not run.directory.record.exists():
        time.sleep(0.05)
    run.channel.ask(Request.STOP)
    thread.join(20)
    assert outcome[0].status == status
    assert record_of(run).status == "ok"


def test_a_run_that_is_stopped_before_it_starts_never_starts(process: Process) -> None:
    run = process("(folder / 'started').touch()")
    run.channel.ask(Request.STOP)
    assert run.run().status == "interrupted"
    assert not run.directory.path.exists()


def test_a_run_that_another_process_is_at_is_left_alone(process: Process) -> None:
    run = process("(folder / 'started').touch()")
    with RunDirectory(run.directory.path).locked():
        assert run.run().status == "busy"
    assert not (run.directory.path / "started").exists()


def test_a_record_that_came_since_the_plan_is_left_alone(process: Process) -> None:
    first = process(RECORD + "record('ok')")
    first.run()
    stamp = record_mtime(first.directory.path)
    again = process("(folder / 'started').touch()", record_mtime=None)
    assert again.run().status == "elsewhere"
    known = process("(folder / 'started').touch(); 1 / 0", record_mtime=stamp)
    assert known.run().status == "failed"
    assert (first.directory.path / "started").exists()


def test_what_another_process_left_unfinished_is_resumed(process: Process) -> None:
    process(RECORD + "record('interrupted'); sys.exit(130)").run()
    again = process(RECORD + "record('ok', metrics={'accuracy': 1.0})", record_mtime=None)
    assert again.run().status == "ok"


def test_a_record_that_cannot_be_written_is_reported(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_process, "write_json", full_disk)
    outcome = process("1 / 0").run()
    assert outcome.status == "failed"
    assert "ZeroDivisionError: division by zero; its record could not be written" in str(outcome.error)


def test_the_process_ends_with_its_parent_and_holds_the_run_until_then(process: Process, tmp_path: Path) -> None:
    """The parent dies by SIGKILL; the run takes its time to end, and nobody else gets the run before it has."""
    folder = tmp_path / "orphan"
    code = (
        "import threading; from rocoft_bench.execution.worker import end_with_parent\njob.directory.join()\n"
        "signal.signal(15, lambda *_: (time.sleep(1.5), sys.exit(130)))\n"
        "threading.Thread(target=end_with_parent, args=(os.getppid(),), daemon=True).start()\n"
        "(folder / 'pid').write_text(str(os.getpid()))\nwhile True: time.sleep(0.1)"
    )
    parent = (
        "import sys; from rocoft_bench.execution import run_process; from rocoft_bench.execution.job import Job\n"
        f"run_process.WORKER = {run_process.WORKER!r}\n"
        f"from pathlib import Path; channel = run_process.Channel(Path({str(tmp_path)!r}))\n"
        "run_process.RunProcess(Job.from_json(sys.argv[1]), channel, {'CODE': sys.argv[2]}).run()"
    )
    sweep = subprocess.Popen([sys.executable, "-c", parent, make_job(folder).as_json(), code])
    pid_file = folder / "pid"
    deadline = time.monotonic() + 30
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int(pid_file.read_text())
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    assert RunDirectory(folder).is_busy()
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline + 20
        time.sleep(0.1)
    while RunDirectory(folder).is_busy():  # until the last of its threads is gone
        assert time.monotonic() < deadline + 25
        time.sleep(0.1)
