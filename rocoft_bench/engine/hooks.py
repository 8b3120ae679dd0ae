"""What a fine-tuning method may add to the training loop."""

from typing import Any

import torch
from torch import Tensor


class Hooks:
    """Called by the trainer at fixed points of every optimizer step; by default nothing is changed at any of them.

    A method returns its own subclass from `Method.hooks`. Steps count from 1, the step in question included.
    """

    def group_options(self, name: str) -> dict[str, float]:
        """`learning_rate` (peak) and `weight_decay` of a trained parameter, where they differ from the settings'."""
        return {}

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer of parameter groups that hold `params`, `lr` and `weight_decay`."""
        return torch.optim.AdamW(groups, fused=True)

    def started(self, optimizer: torch.optim.Optimizer) -> None:
        """Before the first step, or before the first one after a checkpoint has been loaded; keeps the optimizer."""
        self.optimizer = optimizer

    def stage(self, step: int, total_steps: int) -> tuple[int, int]:
        """The step (from 0) and the length that the learning-rate schedule goes by; a method may have stages."""
        return step, total_steps

    def rate_scale(self, step: int) -> float:
        """What the peak learning rates are multiplied with at a step (from 0)."""
        return 1.0

    def before_step(self, step: int) -> None:
        """Before the forward passes of a step."""

    def extra_loss(self) -> Tensor | None:
        """A term that is added to the loss of a step, once however many batches it has."""
        return None

    def after_backward(self, step: int) -> None:
        """With the gradients of all batches of the step, before they are clipped."""

    def after_step(self, step: int) -> None:
        """After the optimizer's step, with the gradients still there."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside trained parameters and optimizer, for the run to resume identically."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""


class Undecayed(Hooks):
    """Exempts parameters from weight decay, by a part of their names: those whose neutral value is not 0."""

    def __init__(self, *parts: str) -> None:
        self.parts = set(parts)

    def group_options(self, name: str) -> dict[str, float]:
        return {} if self.parts.isdisjoint(name.split(".")) else {"weight_decay": 0.0}
