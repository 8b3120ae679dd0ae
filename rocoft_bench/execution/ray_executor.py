"""The runs of a sweep as tasks on a Ray cluster: each on a node with room for it, on another when that node dies."""

import logging
import os
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError
from rocoft_bench.execution.channel import Channel
from rocoft_bench.execution.cluster import ClusterExecutor, LostError, RemoteRun
from rocoft_bench.execution.executor import Demand
from rocoft_bench.execution.job import Job, Outcome

CONNECT_SECONDS = 5.0

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
}
"""What Ray reads when it is imported: no statistics, and no pages on the terminal about each node that is lost."""

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
"""Ray gives as many cores as there are processes."""


class RayExecutor(ClusterExecutor):
    """needs: what a run takes by Ray's names: CPU, perhaps GPU. Without GPUs a job's own memory is added."""

    def __init__(self, slots: int, output: Path, needs: Mapping[str, float]) -> None:
        super().__init__(slots, output)
        self._needs = needs

    def _submit(self, job: Job, channel: Channel) -> Any:
        import ray

        remote: Any = ray.remote
        needs = with_memory(self._needs, job.memory_mib, ray.nodes())
        options = {"num_cpus": needs["CPU"], "num_gpus": needs.get("GPU", 0), "memory": needs.get("memory")}
        call = remote(max_retries=0, **options)(RemoteRun.__call__)
        return call.remote(RemoteRun(job, channel, ONE_THREAD))

    def _outcome(self, handle: Any) -> Outcome | None:
        import ray

        try:
            return ray.get(handle) if ray.wait([handle], timeout=0)[0] else None
        except ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise LostError(lines[-1] if lines else type(error).__name__) from error

    def _cancel(self, handle: Any) -> None:
        import ray

        ray.cancel(handle, force=True)

    def close(self) -> None:
        import ray

        super().close()
        ray.shutdown()


def ray_executor(demand: Demand, output: Path, address: str | None) -> RayExecutor:
    """An executor on a running cluster. A run takes a GPU for each of its processes if the cluster has any, and a core.

    address: host:port of the cluster's head; without it, RAY_ADDRESS, or the cluster of this machine.

    Raises: UserError if Ray is missing, no cluster answers, or none of its nodes is large enough for a run.
    """
    if find_spec("ray") is None:
        raise UserError("--executor ray: needs the extra ray: pip install 'rocoft-bench[ray]'")
    _connect(address)
    import ray

    nodes = ray.nodes()
    gpus = sum(_resources(node).get("GPU", 0) for node in nodes)
    needs = {"CPU": demand.processes, "GPU": demand.processes} if gpus else {"CPU": demand.processes}
    if not room(nodes, needs):
        ray.shutdown()
        kind = "GPUs" if gpus else "cores"
        raise UserError(f"--num-processes {demand.processes}: no node of the Ray cluster has so many {kind}")
    return RayExecutor(demand.slots(room(nodes, with_memory(needs, demand.largest_mib, nodes))), output, needs)


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

    wanted = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        if wanted != "auto":  # the cluster of this machine, which Ray finds, or says at once that there is none
            host, colon, port = wanted.rpartition(":")
            if not colon or not port.isdigit():
                raise ValueError("not HOST:PORT")
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        ray.init(address=wanted, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        cause = str(error).strip().partition("\n")[0]
        start = "start one with `ray start --head`, and `ray start --address=HOST:PORT` on further nodes"
        raise UserError(f"--address {wanted}: no Ray cluster there ({cause}); {start}") from error
