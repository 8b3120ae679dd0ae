"""The runs of a sweep as actors on a Ray cluster: each on a node with room for it, and on another when that node dies.

All nodes have to see the folder in which the sweep was started, and its results, under the same path.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import socket
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rocoft_bench.engine.observer import Observer, Relay
from rocoft_bench.errors import UserError, reason
from rocoft_bench.execution.child import Child
from rocoft_bench.execution.executor import Executor
from rocoft_bench.execution.failures import failure_record
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.runs import Failure, RunDirectory, write_json

RETRIES = 3
"""How often a run whose node or worker died is begun again, from its checkpoint."""

POLL_SECONDS = 1.0
CONNECT_SECONDS = 5.0

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
"""What Ray reads when it is imported: no statistics, and no pages on the terminal about each node that is lost."""

PATIENCE_SECONDS = {"stop": 30.0, "kill": 5.0}
"""A run that is told to end and is not heard of for so long is given up."""

Event = tuple[str, tuple[Any, ...]]


class Mailbox(Relay):
    """Keeps events until they are fetched."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()

    def _pass_on(self, event: str, *values: Any) -> None:
        self._events.append((event, values))

    def fetch(self) -> list[Event]:
        return [self._events.popleft() for _ in range(len(self._events))]


class Carrier:
    """The actor: carries out one run on its node, and is asked meanwhile how far it is.

    folder: where the sweep was started. marker: a file there by which the folder is known to be the same.
    """

    def __init__(self, job: Job, folder: str, marker: str) -> None:
        self._folder, self._marker = Path(folder), marker
        # Ray gives as many cores as there are processes
        self._child, self._mailbox = Child(job, {"OMP_NUM_THREADS": "1"}), Mailbox()
        self._wish: str | None = None

    def run(self) -> Outcome:
        if not (self._folder / self._marker).is_file():
            error = f"{self._folder}: another folder, or none, on node {platform.node()}"
            return Outcome("failed", error, "start the sweep in a folder that all nodes share")
        os.chdir(self._folder)
        return self._child.run(self._mailbox)

    def poll(self, wish: str | None) -> list[Event]:
        """What has happened since the last call. wish: `stop` or `kill` if the run is to end."""
        if wish is not None and wish != self._wish:
            self._wish = wish
            getattr(self._child, wish)()
        return self._mailbox.fetch()


class RayExecutor(Executor):
    """Actors on the nodes of a cluster.

    Args:
        needs: What a run takes by Ray's names: CPU, perhaps GPU. Without GPUs a job's own memory is added.
        slots: How many runs are given to Ray at a time; it queues those that have no room yet.
        output: Folder of all runs.

    Raises:
        UserError: If that cannot be written.
    """

    def __init__(self, needs: Mapping[str, float], slots: int, output: Path) -> None:
        self.slots = slots
        self._needs = needs
        self._pool = ThreadPoolExecutor(slots)
        self._wish: str | None = None
        self._marker = output / f".ray-{secrets.token_hex(8)}"
        try:
            output.mkdir(parents=True, exist_ok=True)
            self._marker.touch()
        except OSError as error:
            raise UserError(f"--output {output}: cannot be written ({reason(error)})") from None

    def submit(self, job: Job, observer: Observer) -> Future[Outcome]:
        return self._pool.submit(self._carry_out, job, observer)

    def stop(self) -> None:
        self._wish = "stop"

    def kill(self) -> None:
        self._wish = "kill"

    def close(self) -> None:
        import ray

        self._pool.shutdown()
        self._marker.unlink(missing_ok=True)
        ray.shutdown()

    def _carry_out(self, job: Job, observer: Observer) -> Outcome:
        import ray

        carrier = self._start(job)
        try:
            return self._follow(carrier, observer)
        except ray.exceptions.RayError as error:
            return _lost(job, error)
        finally:
            ray.kill(carrier)

    def _start(self, job: Job) -> Any:
        import ray

        needs = with_memory(self._needs, job.memory_mib, ray.nodes())
        options = {
            "num_cpus": needs["CPU"],
            "num_gpus": needs.get("GPU", 0),
            "memory": needs.get("memory"),
            "max_restarts": RETRIES,
            "max_task_retries": RETRIES,
            "max_concurrency": 2,  # `poll` while `run` goes on
        }
        return ray.remote(Carrier).options(**options).remote(job, str(Path.cwd()), str(self._marker))

    def _follow(self, carrier: Any, observer: Observer) -> Outcome:
        """Pass on events and wishes until the run has ended."""
        import ray

        result, news, heard = carrier.run.remote(), carrier.poll.remote(self._wish), time.monotonic()
        while not ray.wait([result], timeout=POLL_SECONDS)[0]:
            if ray.wait([news], timeout=0)[0]:
                for event, values in ray.get(news):
                    getattr(observer, event)(*values)
                news, heard = carrier.poll.remote(self._wish), time.monotonic()
            if self._wish is not None and time.monotonic() > heard + PATIENCE_SECONDS[self._wish]:
                return Outcome("interrupted")
        return ray.get(result)


def ray_executor(
    address: str | None, output: Path, to_do: int, jobs: int | None, processes: int, largest_mib: float | None
) -> RayExecutor:
    """An executor on a running cluster, for `jobs` runs at a time or as many as there is room for now.

    A run takes a GPU for each of its processes if the cluster has any, and a core.

    Args:
        address: host:port of the cluster's head; without it, RAY_ADDRESS, or the cluster of this machine.
        processes: How many share a run.
        largest_mib: Estimated memory of the largest run, where there is an estimate.

    Raises:
        UserError: If Ray is missing, no cluster answers, or none of its nodes is large enough for a run.
    """
    if find_spec("ray") is None:
        raise UserError("--executor ray: needs the extra ray: pip install 'rocoft-bench[ray]'")
    _connect(address)
    import ray

    nodes = ray.nodes()
    gpus = sum(_resources(node).get("GPU", 0) for node in nodes)
    needs = {"CPU": processes, "GPU": processes} if gpus else {"CPU": processes}
    if not room(nodes, needs):
        ray.shutdown()
        kind = "GPUs" if gpus else "cores"
        raise UserError(f"--num-processes {processes}: no node of the Ray cluster has so many {kind}")
    slots = jobs or room(nodes, with_memory(needs, largest_mib, nodes))
    return RayExecutor(needs, max(1, min(to_do, slots)), output)


def room(nodes: list[dict[str, Any]], needs: Mapping[str, float]) -> int:
    """How many runs fit on the nodes, as `ray.nodes()` describes them, each run on one node."""
    return sum(min(int(_resources(node).get(name, 0) // amount) for name, amount in needs.items()) for node in nodes)


def with_memory(
    needs: Mapping[str, float], memory_mib: float | None, nodes: list[dict[str, Any]]
) -> Mapping[str, float]:
    """Needs with the memory that a run without GPUs takes: its estimate, or a whole node if none has so much."""
    if memory_mib is None or "GPU" in needs:
        return needs
    largest = max((_resources(node).get("memory", 0) for node in nodes if room([node], needs)), default=0)
    return {**needs, "memory": int(min(memory_mib * 2**20, largest))}


def _resources(node: dict[str, Any]) -> dict[str, float]:
    return node["Resources"] if node["Alive"] else {}


def _connect(address: str | None) -> None:
    """Connect to a cluster that is running, quietly. Ray itself would try a wrong address for minutes."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    wanted = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        found = canonicalize_bootstrap_address(wanted)
        if found is None:
            raise ValueError("none is started here")
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        ray.init(address=found, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        said = str(error).strip().partition("\n")[0]
        start = "start one with `ray start --head`, and `ray start --address=HOST:PORT` on further nodes"
        raise UserError(f"--address {wanted}: no Ray cluster there ({said}); {start}") from error


def _lost(job: Job, error: Exception) -> Outcome:
    """The outcome, on record too, of a run whose actor died more often than it is retried or could not be made."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    hint = "--retry-failed goes on from its last checkpoint, if it came so far"
    failure = Failure("crashed", f"lost on the Ray cluster for good: {said[-1] if said else error}", hint)
    directory = RunDirectory(Path(job.folder))
    with suppress(UserError, OSError), directory.locked():
        write_json(directory.record, failure_record(job, failure).model_dump())
    return Outcome(*failure)
