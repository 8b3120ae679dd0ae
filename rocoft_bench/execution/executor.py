"""Who carries out the runs of a sweep: so many at a time, each in a process of its own."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.execution.child import Child
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.execution.resources import available_cores, runs_at_a_time, visible_gpus


class Executor(ABC):
    """Takes jobs and gives outcomes.

    slots: how many jobs it can carry out at a time.
    """

    slots: int

    @abstractmethod
    def submit(self, job: Job, observer: Observer) -> Future[Outcome]:
        """Begin a run. The observer is called from another thread, where events come through at all."""

    @abstractmethod
    def stop(self) -> None:
        """Ask all runs to end after their step, with a checkpoint."""

    @abstractmethod
    def kill(self) -> None:
        """End all runs at once."""

    @abstractmethod
    def close(self) -> None:
        """Wait for what is running, and free what the executor holds."""


class LocalExecutor(Executor):
    """Processes on this machine.

    environments: one for each run at a time, with the variables that give it its share (GPUs, threads).
    """

    def __init__(self, environments: Sequence[Mapping[str, str]]) -> None:
        self.slots = len(environments)
        self._free: SimpleQueue[Mapping[str, str]] = SimpleQueue()
        for environment in environments:
            self._free.put(environment)
        self._children: set[Child] = set()
        self._pool = ThreadPoolExecutor(self.slots)

    def submit(self, job: Job, observer: Observer) -> Future[Outcome]:
        environment = self._free.get()
        child = Child(job, environment)
        self._children.add(child)

        def release(_: object) -> None:
            self._children.discard(child)
            self._free.put(environment)

        future = self._pool.submit(child.run, observer)
        future.add_done_callback(release)
        return future

    def stop(self) -> None:
        for child in tuple(self._children):
            child.stop()

    def kill(self) -> None:
        for child in tuple(self._children):
            child.kill()

    def close(self) -> None:
        self._pool.shutdown()


def local_executor(to_do: int, jobs: int | None, processes: int, largest_mib: float | None) -> LocalExecutor:
    """An executor for this machine with `jobs` runs at a time, or as many as it has room for, and no more than `to_do`.

    Each run gets its share of the GPUs in turn, or else of the cores.

    Args:
        processes: How many share a run, on a GPU each where there are GPUs.
        largest_mib: Estimated memory of the largest run, where there is an estimate.

    Raises:
        UserError: If a run is to use more GPUs than there are.
    """
    gpus = visible_gpus() if to_do else []
    if gpus and processes > len(gpus):
        raise UserError(f"--num-processes {processes}: there are {len(gpus)} GPUs")
    slots = max(1, min(to_do, jobs or runs_at_a_time(len(gpus), processes, largest_mib)))
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
