"""Device and precision of a run, by accelerate."""

from __future__ import annotations

from accelerate import Accelerator
from accelerate.state import AcceleratorState


def make_accelerator(precision: str) -> Accelerator:
    """An accelerator of a run's own: accelerate keeps one precision per process, and runs in one process may differ."""
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision="no" if precision == "fp32" else precision)
