"""RoCoFT's part in the training loop where its rows and columns are chosen anew."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.tuner.dynamic import LineScores, Rule


class DynamicSelection(Hooks):
    """After every so many steps, by what the last of them shows; not after the last step of all."""

    optimizer: torch.optim.Optimizer

    def __init__(self, model: Any, every: int, total_steps: int, by: Rule) -> None:
        self.scores, self.every, self.total_steps = LineScores(model, by=by), every, total_steps
        self._watching = ExitStack()

    def started(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def _reselects(self, step: int) -> bool:
        return step % self.every == 0 and step < self.total_steps

    def before_step(self, step: int) -> None:
        if self._reselects(step):
            self._watching.enter_context(self.scores.watching())

    def after_backward(self, step: int) -> None:
        self._watching.close()

    def after_step(self, step: int) -> None:
        if self._reselects(step):
            self.scores.reselect(self.optimizer)

    def state(self) -> dict[str, Tensor]:
        return {str(i): layer.entries("default").indices for i, layer in enumerate(self.scores.layers)}

    def restore(self, state: dict[str, Tensor]) -> None:
        for name, indices in state.items():
            self.scores.layers[int(name)].entries("default").indices.copy_(indices)
