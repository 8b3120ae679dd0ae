"""Who executes the jobs of a sweep: so many at a time, each in a process of its own, on this machine or on others."""

import os
import shutil
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError, reason
from rocoft_bench.execution.channel import POLL_SECONDS, Channel, Request
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.execution.run_process import RunProcess

MEMORY_SHARE = 0.9
"""Runs at a time are so many that their estimates fill this share of the available memory at most."""

CGROUP = Path("/sys/fs/cgroup")


class Demand(NamedTuple):
    """What a sweep needs of an executor.

    runs: how many there are to do. jobs: how many of them at a time, if the user says so. processes: how many share a
    run, on a GPU each where there are GPUs. largest_mib: estimated memory of the largest run, where there is one.
    """

    runs: int
    jobs: int | None
    processes: int
    largest_mib: float | None

    def slots(self, room: int) -> int:
        """Runs at a time: as many as the user says or there is room for, and no more than there are."""
        return max(1, min(self.runs, self.jobs or room))


class Executor(ABC):
    """Takes jobs and gives outcomes, `slots` of them at a time.

    folder: for the channels; it is removed in the end.
    """

    poll_seconds = POLL_SECONDS

    def __init__(self, slots: int, folder: Path) -> None:
        self.slots = slots
        self._folder = folder
        self._pool = ThreadPoolExecutor(slots)
        self._channels: set[Channel] = set()
        self._request: Request | None = None

    def submit(self, job: Job, observer: Observer) -> Future[Outcome]:
        """Begin a run. The observer is called from another thread."""
        return self._pool.submit(self._execute_observed, job, observer)

    def _execute_observed(self, job: Job, observer: Observer) -> Outcome:
        try:
            channel = Channel.made_in(self._folder, self.poll_seconds)
        except OSError as error:
            return Outcome("failed", f"cannot be started: {reason(error)}")
        self._channels.add(channel)
        if self._request:  # it came before there was a channel
            self.ask(self._request)
        try:
            with channel.relay_events(observer):
                return self._execute(job, channel)
        finally:
            self._channels.discard(channel)
            shutil.rmtree(channel.folder, ignore_errors=True)

    @abstractmethod
    def _execute(self, job: Job, channel: Channel) -> Outcome:
        """Make the run, whatever happens to it."""

    def ask(self, request: Request) -> None:
        """All runs are to end."""
        self._request = request
        for channel in tuple(self._channels):
            with suppress(OSError):  # it has just ended
                channel.ask(request)

    def close(self) -> None:
        """Wait for what is running, and free what the executor holds."""
        self._pool.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)


class LocalExecutor(Executor):
    """Processes on this machine.

    environments: one for each run at a time, with the variables that give it its share (GPUs, threads).

    Raises: UserError if there is no place for temporary files.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        try:
            folder = Path(tempfile.mkdtemp(prefix="rocoft-"))
        except OSError as error:
            raise UserError(f"TMPDIR: no folder for temporary files can be made ({reason(error)})") from None
        super().__init__(len(environments), folder)
        self._free: SimpleQueue[Mapping[str, str]] = SimpleQueue()
        for environment in environments:
            self._free.put(environment)

    def _execute(self, job: Job, channel: Channel) -> Outcome:
        environment = self._free.get()
        try:
            return RunProcess(job, channel, environment).run()
        finally:
            self._free.put(environment)


def local_executor(demand: Demand) -> LocalExecutor:
    """An executor for this machine: a run for each GPU (or group of GPUs) at a time or, without any, for each core as
    far as memory reaches. Each gets its share of the GPUs in turn, or else of the cores.

    Raises: UserError if a run is to use more GPUs than there are.
    """
    gpus, processes = visible_gpus() if demand.runs else [], demand.processes
    if gpus and processes > len(gpus):
        raise UserError(f"--num-processes {processes}: there are {len(gpus)} GPUs")
    room = (len(gpus) or available_cores()) // processes
    if demand.largest_mib is not None and not gpus:
        room = min(room, int(MEMORY_SHARE * available_memory_mib() / demand.largest_mib))
    slots = demand.slots(room)
    return LocalExecutor([_share(slot, slots, gpus, processes) for slot in range(slots)])


def _share(slot: int, slots: int, gpus: Sequence[str], processes: int) -> dict[str, str]:
    """The environment of one of `slots` runs at a time. A number of threads that the user set stays."""
    share = {}
    if "OMP_NUM_THREADS" not in os.environ:
        share["OMP_NUM_THREADS"] = str(max(1, available_cores() // (slots * processes)))
    if gpus:
        first = slot % (len(gpus) // processes) * processes
        share["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[first : first + processes])
    return share


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory_mib() -> float:
    """Memory that processes can still take on this machine, or in this container if that has less."""
    import psutil

    free = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # no container, or one without a limit
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    return free / 2**20


def visible_gpus() -> list[str]:
    """The GPUs that runs may use, as CUDA_VISIBLE_DEVICES names them. Asked in a process of its own: torch is large."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    code = "import torch; print(torch.cuda.device_count())"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return [str(index) for index in range(int(asked.stdout or 0))]
