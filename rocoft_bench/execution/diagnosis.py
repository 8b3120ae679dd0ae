"""What a run that did not end well has died of."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rocoft_bench.execution.channel import Channel
from rocoft_bench.execution.job import Job
from rocoft_bench.experiment.run_record import make_record
from rocoft_bench.runs import MAKE_ROOM, SMALLER, Failure, RunRecord, tells_of_full_disk

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Exit codes of a worker. After the second, the failure that it reported is the text of a `UserError`."""

TO_MEND = "mend what it names, then --retry-failed"

OUT_OF_MEMORY = re.compile(
    r"MemoryError|out of memory|can't allocate memory|cannot allocate memory|std::bad_alloc|can't start new thread"
    r"|failed to map segment|unable to mmap|memory allocation of \d+ bytes failed|resource temporarily unavailable",
    re.IGNORECASE,
)
"""How Python, torch, safetensors, the loader and OpenMP say it."""


def diagnose(exit_code: int, log: Sequence[str], killed_for_memory: bool) -> Failure:
    """From the exit code (negative: a signal, as in `subprocess`) and the last lines of the log.

    killed_for_memory: whether the system has killed processes for lack of memory in the meantime.
    """
    if -exit_code == signal.SIGKILL and killed_for_memory:
        return Failure("oom", "the system ran out of memory and killed the process", SMALLER)
    said = next((line for line in reversed(log) if OUT_OF_MEMORY.search(line)), None)
    if said is not None:
        return Failure("oom", f"out of memory: {said.strip()}", SMALLER)
    if exit_code < 0:
        hint = "a library failed; log_tail in its record holds what it said last; --retry-failed tries again"
        if -exit_code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            who = "somebody, or a scheduler that counts memory, ended it"
            hint = f"{who}; --retry-failed resumes from its last checkpoint"
        return Failure("crashed", f"the process was ended by {_signal_name(-exit_code)}", hint)
    last = next((line.strip() for line in reversed(log) if line.strip()), "no output")
    error = f"the process ended with exit code {exit_code}: {last}"
    return Failure("failed", error, MAKE_ROOM if tells_of_full_disk(last) else None)


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def memory_kills() -> int:
    """How many processes the system has killed so far because this control group, or the machine, ran out of memory."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        with suppress(OSError, ValueError, KeyError):
            return int(dict(line.split() for line in file.read_text().splitlines())["oom_kill"])
    return 0


def first_cause(channel: Channel, failures: Mapping[int, ProcessFailure]) -> tuple[int, Failure]:
    """Of several workers, the rank of the one that failed first, and why. SIGTERM is how the launcher ends the others
    after that.
    """
    reported = next(((rank, failure) for rank, failure in channel.failures() if rank is not None), None)
    for rank, failure in failures.items():
        of_its_own = reported is None or (reported[0] != rank and failure.exitcode != -signal.SIGTERM)
        if failure.exitcode < 0 and of_its_own:
            error = f"process {rank} of the run was ended by {_signal_name(-failure.exitcode)}"
            hint = "somebody, or a system short of memory, ended it; what the last checkpoint holds is not lost"
            return rank, Failure("crashed", error, hint)
    if reported is not None:
        return reported
    rank, failure = next(iter(failures.items()))
    return rank, Failure("crashed", f"process {rank} of the run ended with exit code {failure.exitcode}")


def failure_record(
    job: Job, failure: Failure, record: RunRecord | None = None, log_tail: Iterable[str] = ()
) -> RunRecord:
    """A record that says what was to be done and why it was not. record: what the run itself put on record."""
    changes = {**failure._asdict(), "log_tail": (record.log_tail if record else None) or list(log_tail)}
    if job.launch.num_processes not in (None, 1):
        changes["processes"] = job.launch.num_processes
    return record.model_copy(update=changes) if record else make_record(job.experiment, None, **changes)
