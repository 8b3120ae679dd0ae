"""The runs of a sweep as jobs of Slurm, through submitit: each with its GPUs, memory and time.

What Slurm takes away, for a job of higher priority or because its time is over, writes a checkpoint, returns to the
queue and resumes from there; submitit does so even when the sweep has ended in the meantime.
"""

import math
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from rocoft_bench.errors import UserError, suggest
from rocoft_bench.execution.channel import GRACE_SECONDS, Channel
from rocoft_bench.execution.cluster import RETRIES, ClusterExecutor, LostError, RemoteRun
from rocoft_bench.execution.executor import Demand
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.execution.run_process import RunProcess

MOST_QUEUED = 100
"""Without --jobs: clusters limit how many jobs a user may have in the queue."""

LIBRARIES_MIB = 4096
"""What Python and CUDA take of a node's memory besides the estimate, which is of model and data."""

DAY_MINUTES = 24 * 60
TIME_FACTOR, LEAST_MINUTES = 3, 30
"""A job gets so many times what similar runs took; one that needs more is requeued, and loses only its place."""


class SlurmRun(RemoteRun):
    """Heeds the signals by which Slurm takes a job from its node. They arrive in the main thread, so the run is in
    another.
    """

    def _supervise(self, process: RunProcess) -> Outcome:
        preempted = threading.Event()

        def preempt(number: int, frame: FrameType | None) -> None:
            preempted.set()
            process.interrupt()

        if threading.current_thread() is threading.main_thread():  # not so with submitit's debug executor
            signal.signal(signal.SIGTERM, preempt)
        with ThreadPoolExecutor(1) as pool:
            self._process, self._ended = process, pool.submit(process.run)
            outcome = self._ended.result()
        if preempted.is_set() and outcome.status == "interrupted":
            sys.exit("preempted")  # with no outcome, the job is not taken for finished
        return outcome

    def checkpoint(self) -> Any:
        """Called by submitit on its signal, before it requeues the job; what the job calls when its turn has come."""
        from submitit.helpers import DelayedSubmission

        self._process.interrupt()
        self._ended.result()
        if self.channel.request:
            return None  # the sweep is ending: not to be requeued
        return DelayedSubmission(SlurmRun(self.job, self.channel, self.environment, self.working_directory))

    _process: RunProcess
    _ended: Future[Outcome]


class SlurmExecutor(ClusterExecutor):
    """gpus: of each job. options: further ones of sbatch, by name. cluster: submitit's name for Slurm, or for what it
    has in its place for tests.
    """

    def __init__(
        self, slots: int, output: Path, gpus: int = 0, options: Mapping[str, str] | None = None, cluster: str = "slurm"
    ) -> None:
        import submitit

        super().__init__(slots, output)
        self._gpus, self._options = gpus, dict(options or {})
        self._guard = threading.Lock()
        self._submitit = submitit.AutoExecutor(self._folder, cluster, slurm_max_num_timeout=RETRIES)

    def _submit(self, job: Job, channel: Channel) -> Any:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        try:
            with self._guard:
                self._submitit.update_parameters(**self._needs(job))
                return self._submitit.submit(SlurmRun(job, channel, {}))
        except (FailedJobError, FailedSubmissionError) as error:
            raise LostError(_last_line(error)) from error

    def _needs(self, job: Job) -> dict[str, Any]:
        """What a job asks Slurm for."""
        processes = job.launch.num_processes or 1
        cores = self._options.get("cpus_per_task", processes)
        return {
            "name": job.directory.path.name,
            "nodes": 1,
            "tasks_per_node": 1,
            "cpus_per_task": processes,
            "slurm_srun_args": [f"--cpus-per-task={cores}"],  # srun does not take it from the job
            "gpus_per_node": self._gpus or None,
            "mem_gb": None if job.memory_mib is None else math.ceil((job.memory_mib + LIBRARIES_MIB) / 1024),
            "timeout_min": time_limit_minutes(job),
            "slurm_signal_delay_s": GRACE_SECONDS,
            "slurm_additional_parameters": self._options,
        }

    def _outcome(self, handle: Any) -> Outcome | None:
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            if handle.done():
                return handle.result()
        except (FailedJobError, UncompletedJobError) as error:
            if handle.state.startswith("CANCELLED"):  # somebody does not want it to be run
                return Outcome("interrupted")
            raise LostError(_last_line(error)) from error
        if handle.state == "PREEMPTED":  # and perhaps not requeued: that depends on the cluster
            self._cancel(handle)
            raise LostError("preempted")
        return None

    def _cancel(self, handle: Any) -> None:
        handle.cancel(check=False)


def time_limit_minutes(job: Job) -> int:
    """The time that is asked for: the time-out, or by what similar runs took, or else a day."""
    if job.timeout_seconds is not None:
        return math.ceil((job.timeout_seconds + 2 * GRACE_SECONDS) / 60)
    return DAY_MINUTES if job.seconds is None else max(LEAST_MINUTES, math.ceil(TIME_FACTOR * job.seconds / 60))


def slurm_executor(demand: Demand, output: Path, partition: str | None, options: Mapping[str, str]) -> SlurmExecutor:
    """An executor on the Slurm cluster whose commands are here. A run takes a GPU for each of its processes if the
    partition has any, and a core.

    Raises: UserError if submitit or Slurm is missing, or the partition.
    """
    if find_spec("submitit") is None:
        raise UserError("--executor slurm: needs the extra slurm: pip install 'rocoft-bench[slurm]'")
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        raise UserError("--executor slurm: no sbatch here; start the sweep where jobs can be submitted")
    gpus = demand.processes if _has_gpus(partition) else 0
    if partition is not None:
        options = {**options, "partition": partition}
    return SlurmExecutor(demand.slots(MOST_QUEUED), output, gpus, options)


def sbatch_options(texts: Iterable[str]) -> dict[str, str]:
    """KEY=VALUE by its key. Raises: UserError if one is not that."""
    pairs = {text: text.removeprefix("--").partition("=") for text in texts}
    for text, (key, _, value) in pairs.items():
        if not key or not value:
            raise UserError(f"--sbatch {text}: must be KEY=VALUE, as sbatch has it: account=nlp")
    return {key.replace("-", "_"): value for key, _, value in pairs.values()}


def _has_gpus(partition: str | None) -> bool:
    """Whether a partition, by default the cluster's default, has GPUs. Raises: UserError if there is none such."""
    asked = subprocess.run(["sinfo", "--noheader", "--format=%P %G"], capture_output=True, text=True)
    if asked.returncode:
        raise UserError(f"--executor slurm: sinfo says: {asked.stderr.strip()}")
    gpus: dict[str, bool] = {}
    for line in asked.stdout.splitlines():
        name, _, resources = line.partition(" ")
        for key in {name.rstrip("*"), ""} if name.endswith("*") else {name}:
            gpus[key] = gpus.get(key, False) or "gpu" in resources
    if partition is not None and partition not in gpus:
        raise UserError(f"--partition {partition}: none such here; {suggest(partition, filter(None, gpus))}")
    return gpus.get(partition or "", False)


def _last_line(error: Exception) -> str:
    """What a job printed last, or its traceback: submitit puts where the logs are after that, under a line."""
    text = str(error).rpartition(f"\n{22 * '-'}\n")[0] or str(error)
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), type(error).__name__)
