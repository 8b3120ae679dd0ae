"""One run in a process of its own: started, listened to, stopped, and its end put on record."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from rocoft_bench.engine.observer import Observer, replay
from rocoft_bench.errors import UserError, reason
from rocoft_bench.execution.failures import diagnose, failure_record, memory_kills
from rocoft_bench.execution.job import Job, Outcome, record_stamp
from rocoft_bench.experiment.resolve import restored
from rocoft_bench.runs import LOG_TAIL, Failure, RunBusyError, RunDirectory, RunRecord, write_json
from rocoft_bench.runs.lock import is_held

WORKER = ("-P", "-m", "rocoft_bench.execution.worker")
"""What the process runs, as arguments of Python; -P keeps files of the working directory from posing as modules."""

GRACE_SECONDS = 60.0
"""A run that is told to end has this long for its step, a checkpoint and its record."""


class Child:
    """A run's process. `run` waits for its end; `stop` and `kill` may be called from other threads at any time.

    environment: what differs from this process' own environment variables.
    """

    def __init__(self, job: Job, environment: Mapping[str, str]) -> None:
        self.job, self.environment = job, environment
        self.directory = RunDirectory(Path(job.folder))
        self._process: subprocess.Popen[str] | None = None
        self._stopped: str | None = None
        self._guard = threading.Lock()

    def run(self, observer: Observer) -> Outcome:
        """Carry out the run unless another process is at it or has just done it; whatever happens is an outcome."""
        started = time.monotonic()
        try:
            self.directory.check_kinds()
            with self.directory.locked() as lock:
                if self._is_done_elsewhere():
                    return Outcome("elsewhere")
                outcome = self._run_locked(lock, observer)
        except RunBusyError:
            return Outcome("busy")
        except UserError as error:
            return Outcome("failed", str(error))
        return Outcome(outcome.status, outcome.error, outcome.hint, outcome.metrics, time.monotonic() - started)

    def stop(self, reason: str = "interrupted") -> None:
        """Ask the run to end: it finishes its step and writes a checkpoint."""
        self._signal(signal.SIGTERM, reason)

    def kill(self) -> None:
        """End the run at once."""
        self._signal(signal.SIGKILL, "interrupted")

    def _signal(self, number: int, reason: str) -> None:
        with self._guard:
            self._stopped = self._stopped or reason
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def _is_done_elsewhere(self) -> bool:
        """Whether there is a record that the sweep does not know of, unless it only says that the run is to go on."""
        if record_stamp(self.directory.path) in (None, self.job.seen):
            return False
        record = self._own_record()
        return record is None or record.status != "interrupted"

    def _run_locked(self, lock: int, observer: Observer) -> Outcome:
        kills = memory_kills()
        tail: deque[str] = deque(maxlen=LOG_TAIL)
        try:
            if self._finished() is None:
                self.directory.record.unlink(missing_ok=True)
            self._start(lock)
        except OSError as error:
            return Outcome("failed", f"cannot be started: {error}")
        if self._process is None:
            return Outcome("interrupted")
        code = self._listen(self._process, observer, tail)
        self._wait_for_members()
        record = self._own_record()
        if code == 0 and record is not None and record.status == "ok":
            return Outcome("ok", metrics=record.metrics)
        return self._settle(diagnose(code, tail, memory_kills() > kills), list(tail))

    def _start(self, lock: int) -> None:
        """Start the process in a session of its own, so that a Ctrl-C at the terminal reaches only the sweep."""
        arguments = ["--lock", str(lock), "--parent", str(os.getpid()), self.job.as_json()]
        with self._guard:
            if self._stopped:
                return
            self._process = subprocess.Popen(
                [sys.executable, *WORKER, *arguments],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=(lock,),
                start_new_session=True,
            )

    def _listen(self, process: subprocess.Popen[str], observer: Observer, tail: deque[str]) -> int:
        """Pass events on and keep the rest as the log, until the process ends; its exit code."""
        timers = self._timers()
        for timer in timers:
            timer.start()
        assert process.stdout is not None
        try:
            with process.stdout as lines:
                for line in lines:
                    if not replay(line, observer):
                        tail.append(line.rstrip("\n"))
                        self._log(line)
            return process.wait()
        finally:
            for timer in timers:
                timer.cancel()

    def _timers(self) -> list[threading.Timer]:
        seconds = self.job.timeout_seconds
        if seconds is None:
            return []
        timers = [threading.Timer(seconds, self.stop, ["timeout"]), threading.Timer(seconds + GRACE_SECONDS, self.kill)]
        for timer in timers:
            timer.daemon = True
        return timers

    def _log(self, line: str) -> None:
        try:
            with self.directory.log.open("a", encoding="utf-8") as log:
                log.write(line)
        except OSError:  # a full disk: the last lines still go into the outcome
            pass

    def _wait_for_members(self) -> None:
        """Processes that share the run end by themselves when the one that launched them is gone."""
        deadline = time.monotonic() + GRACE_SECONDS
        while is_held(self.directory.members) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _settle(self, failure: Failure, tail: list[str]) -> Outcome:
        """The outcome of a failure, and a record of it, the run's own or one from here, with the log's last lines.

        The record of a run that is finished stays what it is, whatever happened to its further evaluations.
        """
        record = self._own_record()
        if self._stopped == "interrupted" and (record is None or record.status in ("interrupted", "ok")):
            return Outcome("interrupted")
        if self._stopped == "timeout":
            minutes = (self.job.timeout_seconds or 0) / 60
            error = f"not finished after {minutes:g} minutes"
            failure = Failure(
                "timeout", error, "give it longer; --retry-failed goes on from its last checkpoint, if it has one"
            )
            record = record and record.model_copy(update=failure._asdict())
        if self._finished():
            return Outcome(*failure)
        record = record or failure_record(self.job, failure)
        record = record.model_copy(update={"log_tail": record.log_tail or tail})
        try:
            write_json(self.directory.record, record.model_dump())
        except OSError as error:
            return Outcome(record.status, f"{record.error}; its record could not be written ({reason(error)})")
        return Outcome(record.status, record.error, record.hint)

    def _finished(self) -> RunRecord | None:
        try:
            return self.directory.finished(restored(self.job.config, self.job.notes).config)
        except UserError:
            return None

    def _own_record(self) -> RunRecord | None:
        try:
            return self.directory.read_record()
        except UserError:
            return None
