"""Runs on the machines of a cluster, whose queue they wait in. A run whose machine is lost is submitted again.

All machines have to see the folder in which the sweep was started, and its results, under the same path.
"""

import os
import platform
import secrets
import time
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError, reason
from rocoft_bench.execution.channel import Channel, Request
from rocoft_bench.execution.diagnosis import failure_record
from rocoft_bench.execution.executor import Executor
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.execution.run_process import RunProcess
from rocoft_bench.runs import Failure, write_json

RETRIES = 3
"""How often a run whose machine was lost is begun again, from its checkpoint."""

KILL_SECONDS = 5.0
"""A job that does not end so long after it was asked to end at once is taken from the cluster."""


class LostError(Exception):
    """A job ended and left no outcome: its machine died, or somebody else needed it."""


@dataclass
class RemoteRun:
    """What a machine of the cluster is given to call. environment: as of `RunProcess`."""

    job: Job
    channel: Channel
    environment: Mapping[str, str]
    working_directory: Path = field(default_factory=Path.cwd)

    def __call__(self) -> Outcome:
        if not self.channel.folder.is_dir():
            error = f"{self.channel.folder}: another folder, or none, on node {platform.node()}"
            return Outcome("failed", error, "start the sweep in a folder that all nodes share")
        os.chdir(self.working_directory)
        self.channel.begin()
        return self._supervise(RunProcess(self.job, self.channel, self.environment))

    def _supervise(self, process: RunProcess) -> Outcome:
        return process.run()


class ClusterExecutor(Executor):
    """Gives the cluster up to `slots` jobs at a time; it queues those for which there is no room yet.

    Raises: UserError if the folder of all runs, `output`, cannot be written.
    """

    poll_seconds = 1.0  # of a file system that many share

    def __init__(self, slots: int, output: Path) -> None:
        super().__init__(slots, output.absolute() / f".cluster-{secrets.token_hex(8)}")
        self._killed_at = inf
        try:
            self._folder.mkdir(parents=True)
        except OSError as error:
            raise UserError(f"--output {output}: cannot be written ({reason(error)})") from None

    @abstractmethod
    def _submit(self, job: Job, channel: Channel) -> Any:
        """Put a job in the queue; what the other methods know it by. Raises: LostError."""

    @abstractmethod
    def _outcome(self, handle: Any) -> Outcome | None:
        """How a job has ended, or None as long as it waits or runs. Raises: LostError."""

    @abstractmethod
    def _cancel(self, handle: Any) -> None:
        """Take a job from the cluster, whether it runs or not."""

    def ask(self, request: Request) -> None:
        if request is Request.KILL:
            self._killed_at = time.monotonic() + KILL_SECONDS
        super().ask(request)

    def _execute(self, job: Job, channel: Channel, retries: int = RETRIES) -> Outcome:
        try:
            return self._follow(self._submit(job, channel), channel)
        except LostError as lost:
            if self._request:
                return Outcome("interrupted")
            if retries:
                return self._execute(job, channel, retries - 1)
            error = f"lost on the cluster for good: {lost}"
        failure = Failure("crashed", error, "--retry-failed resumes its last checkpoint")
        with suppress(UserError, OSError), job.directory.locked():
            write_json(job.directory.record, failure_record(job, failure).model_dump())
        return Outcome(*failure)

    def _follow(self, handle: Any, channel: Channel) -> Outcome:
        while (outcome := self._outcome(handle)) is None:
            if (self._request and not channel.has_begun) or time.monotonic() > self._killed_at:
                self._cancel(handle)
                return Outcome("interrupted")
            time.sleep(self.poll_seconds)
        return outcome
