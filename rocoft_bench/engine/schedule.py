"""The learning rate as a function of the step."""

import math

from rocoft_bench.config import TrainingConfig


def rate_factor(step: int, total_steps: int, settings: TrainingConfig) -> float:
    """Share of the peak rate at step `step` (from 0): linear warm-up, then cosine, linear or no decay to zero.

    The same values as transformers' `get_scheduler` of that name.
    """
    if step < settings.warmup_steps:
        return step / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps)
    return {
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": 1.0,
    }[settings.lr_scheduler]
