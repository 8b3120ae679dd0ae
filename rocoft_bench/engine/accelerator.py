"""Device and precision of a run, by accelerate."""

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import parse_flag_from_env

from rocoft_bench.config import MIXED
from rocoft_bench.engine.launchers import forget_launchers


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
