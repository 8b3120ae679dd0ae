"""What this machine has for runs: cores, memory, GPUs."""

import os
import subprocess
import sys
from pathlib import Path

MEMORY_SHARE = 0.9
"""Runs at a time are so many that their estimates fill this share of the available memory at most."""

CGROUP = Path("/sys/fs/cgroup")


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory_mib() -> float:
    """Memory that processes can still take on this machine, or in this container if that has less."""
    import psutil

    free = psutil.virtual_memory().available
    try:
        limit = int((CGROUP / "memory.max").read_text())
        free = min(free, limit - int((CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    return free / 2**20


def visible_gpus() -> list[str]:
    """The GPUs that runs may use, as CUDA_VISIBLE_DEVICES names them. Asked in a process of its own: torch is large."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    code = "import torch; print(torch.cuda.device_count())"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return [str(index) for index in range(int(asked.stdout or 0))]


def runs_at_a_time(gpus: int, gpus_per_run: int, largest_mib: float | None) -> int:
    """One run per GPU (or group of GPUs); without any, one per core as far as memory reaches.

    largest_mib: estimate for the largest run, where there is one.
    """
    if gpus:
        return max(1, gpus // gpus_per_run)
    cores = max(1, available_cores() // gpus_per_run)
    if largest_mib is None:
        return cores
    return max(1, min(cores, int(MEMORY_SHARE * available_memory_mib() / largest_mib)))
