"""What a process that ended without a record of its own has died of."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from rocoft_bench.execution.job import Job
from rocoft_bench.experiment.resolve import restored
from rocoft_bench.experiment.run_record import make_record
from rocoft_bench.runs import MAKE_ROOM, SMALLER, Failure, RunRecord, tells_of_full_disk

BAD_INPUT = 2
"""Exit code after a `UserError`, whose text is the last line that starts with `error: `."""

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
    told = next((line for line in reversed(log) if OUT_OF_MEMORY.search(line)), None)
    if told is not None:
        return Failure("oom", f"out of memory: {told.strip()}", SMALLER)
    if exit_code < 0:
        return Failure("crashed", f"the process was ended by {_signal_name(-exit_code)}", _hint(-exit_code))
    if exit_code == BAD_INPUT:
        said = next((line.removeprefix("error: ") for line in reversed(log) if line.startswith("error: ")), None)
        return Failure("failed", said or "bad input", "mend what it names, then --retry-failed")
    last = next((line.strip() for line in reversed(log) if line.strip()), "no output")
    hint = MAKE_ROOM if tells_of_full_disk(last) else None
    return Failure("failed", f"the process ended with exit code {exit_code}: {last}", hint)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _hint(number: int) -> str:
    if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return "somebody, or a scheduler that counts memory, ended it; --retry-failed goes on from its last checkpoint"
    return "a library failed; log_tail in its record holds what it said last; --retry-failed tries again"


def memory_kills() -> int:
    """How many processes the system has killed so far because this control group, or the machine, ran out of memory."""
    for file in (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat")):
        try:
            counters = dict(line.split() for line in file.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if "oom_kill" in counters:
            return int(counters["oom_kill"])
    return 0


def failure_record(job: Job, failure: Failure) -> RunRecord:
    """A record that says what was to be done and why it was not."""
    return make_record(restored(job.config, job.notes), None, **failure._asdict())
