"""Peak memory of a run."""

import resource
import sys

import torch

MIB = 1024 * 1024


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mib(device: torch.device) -> tuple[float, str]:
    """The peak and what it measures: allocated GPU memory, or the whole process' resident memory on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB, "allocated GPU memory"
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB, "resident memory of the process"
