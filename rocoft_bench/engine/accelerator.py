"""Device and precision of a run, by accelerate, and the peak of its memory."""

import resource
import sys

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import parse_flag_from_env

from rocoft_bench.config import MIXED
from rocoft_bench.engine.launchers import forget_launchers

MIB = 1024 * 1024


def make_accelerator(precision: str, skips_parameters: bool = False) -> Accelerator:
    """An accelerator of a run's own: accelerate keeps one precision per process, and runs in one process may differ.

    Where processes share a run, buffers are the same everywhere from the start. skips_parameters: whether a trained
    parameter may be without a gradient in some step; looking for it takes a walk through each step's graph.
    """
    forget_launchers()
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    AcceleratorState._reset_state()
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):  # set by this project's launcher
        from rocoft_bench.engine.zero import ZeroAccelerator

        return ZeroAccelerator(precision)
    distributed = DistributedDataParallelKwargs(find_unused_parameters=skips_parameters, broadcast_buffers=False)
    mixed = precision if precision in MIXED else "no"
    return Accelerator(mixed_precision=mixed, kwargs_handlers=[distributed])


def reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory_mib(device: torch.device) -> tuple[float, str]:
    """The peak and what it measures: allocated GPU memory, or the whole process' resident memory on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MIB, "allocated GPU memory"
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB, "resident memory of the process"
