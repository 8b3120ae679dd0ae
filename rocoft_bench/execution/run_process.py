"""A run's worker as seen by the process that starts it: supervised, stopped, and its end put on record."""

import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from math import inf

from rocoft_bench.errors import UserError, reason
from rocoft_bench.execution.channel import GRACE_SECONDS, POLL_SECONDS, Channel, Request
from rocoft_bench.execution.diagnosis import BAD_INPUT, TO_MEND, diagnose, failure_record, memory_kills
from rocoft_bench.execution.job import Job, Outcome, record_mtime
from rocoft_bench.runs import LOG_TAIL, Failure, RunBusyError, RunRecord, write_json
from rocoft_bench.runs.lock import is_held

WORKER = ("-P", "-m", "rocoft_bench.execution.worker")
"""What the process runs, as arguments of Python; -P keeps files of the working directory from posing as modules."""


class RunProcess:
    """Makes a run in a process of its own. What comes through the channel may end it.

    environment: what differs from this process' own environment variables.
    """

    def __init__(self, job: Job, channel: Channel, environment: Mapping[str, str]) -> None:
        self.job, self.channel, self.environment = job, channel, environment
        self.directory = job.directory
        self._log_tail: deque[str] = deque(maxlen=LOG_TAIL)
        self._stopped: str | None = None
        self._interrupted = False
        self._times_out_at = time.monotonic() + (job.timeout_seconds or inf)
        self._killed_at = inf

    def run(self) -> Outcome:
        """Make the run unless another process is at it or has just done it; whatever happens is an outcome."""
        started = time.monotonic()
        try:
            self.directory.check_kinds()
            with self.directory.locked():
                outcome = Outcome("elsewhere") if self._is_done_elsewhere() else self._recorded()
        except RunBusyError:
            return Outcome("busy")
        except UserError as error:
            return Outcome("failed", str(error))
        return replace(outcome, seconds=time.monotonic() - started)

    def interrupt(self) -> None:
        """Have the run end after its step, with a checkpoint, though nobody asked for it. For handlers of signals."""
        self._interrupted = True

    def _recorded(self) -> Outcome:
        try:
            return self.execute()
        except UserError as error:
            return self._record_outcome(Failure("failed", str(error), TO_MEND))

    def _is_done_elsewhere(self) -> bool:
        """Whether there is a record that the sweep does not know of, but for one that lets the run be resumed."""
        if record_mtime(self.directory.path) in (None, self.job.record_mtime):
            return False
        record = self.directory.readable_record()
        return record is None or record.status != "interrupted"

    def execute(self) -> Outcome:
        """Make the run, whose lock is held. Raises: UserError if its input cannot be used."""
        kills = memory_kills()
        if self.channel.request:
            return Outcome("interrupted")
        try:
            if self._finished() is None and not self.job.launch.machine_rank:
                self.directory.record.unlink(missing_ok=True)
            before = record_mtime(self.directory.path)
            code = self._supervise(self._start())
        except OSError as error:
            return Outcome("failed", f"cannot be started: {error}")
        self._wait_for_members()
        record = self.directory.readable_record()
        reported = next((failure for rank, failure in self.channel.failures() if rank is None), None)
        # a process may be ended when it has written the result and is only not gone yet
        is_new = record_mtime(self.directory.path) != before
        was_only_ended = reported is None or reported.status == "interrupted"
        is_done = code == 0 or (is_new and was_only_ended and not self.job.evaluations)
        if is_done and record is not None and record.status == "ok":
            return Outcome("ok", metrics=record.metrics)
        if reported is not None and code == BAD_INPUT:
            if not self.directory.config.is_file():  # nothing was begun, and nothing is left behind
                self.directory.log.unlink(missing_ok=True)
            raise UserError(reported.error)
        if reported is None and record is not None and record.status != "ok":
            reported = Failure(record.status, record.error or "", record.hint)
        return self._record_outcome(reported or diagnose(code, self._log_tail, memory_kills() > kills))

    def _start(self) -> subprocess.Popen[str]:
        """Start the worker in a session of its own, so that a Ctrl-C at the terminal reaches only who supervises it."""
        meeting = ["--channel", str(self.channel.folder), "--parent", str(os.getpid())]
        return subprocess.Popen(
            [sys.executable, *WORKER, *meeting, self.job.as_json()],
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def _supervise(self, process: subprocess.Popen[str]) -> int:
        """Keep the log and pass requests on until the worker ends; its exit code."""
        log = threading.Thread(target=self._keep_log, args=(process,), daemon=True)
        log.start()
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(self.channel.poll_seconds)
                self._pass_requests_on(process)
        finally:
            log.join(GRACE_SECONDS)

    def _keep_log(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._log_tail.append(line.rstrip("\n"))
                with suppress(OSError), self.directory.log.open("a", encoding="utf-8") as log:
                    log.write(line)

    def _pass_requests_on(self, process: subprocess.Popen[str]) -> None:
        now, request = time.monotonic(), self.channel.request
        if self._stopped is None and (request or self._interrupted or now >= self._times_out_at):
            self._stopped = "interrupted" if request or self._interrupted else "timeout"
            self._killed_at = now + GRACE_SECONDS if self._stopped == "timeout" else inf
            process.terminate()
        if request is Request.KILL or now >= self._killed_at:
            _kill_tree(process.pid)

    def _wait_for_members(self) -> None:
        """Several workers of a run end by themselves when the one that launched them is gone."""
        deadline = time.monotonic() + GRACE_SECONDS
        while is_held(self.directory.members) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _record_outcome(self, failure: Failure) -> Outcome:
        """The outcome of a failure, and a record of it, the run's own or one from here, with the log's last lines.

        The record of a run that is finished stays what it is, whatever happened to its further evaluations.
        """
        record = self.directory.readable_record()
        if self._stopped == "interrupted" and (record is None or record.status in ("interrupted", "ok")):
            return Outcome("interrupted")
        if self._stopped == "timeout":
            error = f"not finished after {(self.job.timeout_seconds or 0) / 60:g} minutes"
            hint = "give it longer; --retry-failed resumes it from its last checkpoint, if it has one"
            failure = Failure("timeout", error, hint)
        if self._finished() or self.job.launch.machine_rank:  # of several machines, the first has the record
            return Outcome(*failure)
        record = failure_record(self.job, failure, record, self._log_tail)
        try:
            if not self.directory.config.is_file():
                self.directory.start(self.job.experiment.config)
            write_json(self.directory.record, record.model_dump())
        except OSError as error:
            return Outcome(failure.status, f"{failure.error}; its record could not be written ({reason(error)})")
        return Outcome(*failure)

    def _finished(self) -> RunRecord | None:
        with suppress(UserError):
            return self.directory.finished(self.job.experiment.identity)
        return None


def _kill_tree(process_id: int) -> None:
    import psutil

    with suppress(psutil.Error):
        process = psutil.Process(process_id)
        for each in (*process.children(recursive=True), process):
            with suppress(psutil.Error):
                each.kill()
