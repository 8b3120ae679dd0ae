"""SFT's part in the training loop: when entries are exchanged, and how many."""

from typing import Any

import torch
from torch import Tensor

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.methods.modules.aged_adamw import AgedAdamW
from rocoft_bench.methods.modules.sparse_linear import Candidates, SparseLinear


class Reselection(Hooks):
    """Every S steps, over the first γ of them, layers collect candidates' gradients, and then exchange entries."""

    optimizer: AgedAdamW

    def __init__(
        self,
        layers: dict[str, SparseLinear],
        total_steps: int,
        reselection_steps: int,
        accumulation_steps: int,
        reselection_rate: float,
    ) -> None:
        self.layers, self.total_steps = layers, total_steps
        self.reselection_steps, self.accumulation_steps = reselection_steps, accumulation_steps
        self.reselection_rate = reselection_rate

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return AgedAdamW(groups)

    def started(self, optimizer: torch.optim.Optimizer) -> None:
        assert isinstance(optimizer, AgedAdamW)
        self.optimizer = optimizer

    def before_step(self, step: int) -> None:
        since = self._since(step)
        selected_at = step - since + self.accumulation_steps - 1
        for layer in self.layers.values():
            layer.collecting = step <= selected_at <= self.total_steps

    def after_backward(self, step: int) -> None:
        for layer in self.layers.values():
            layer.collecting = False
            if layer.candidates is not None:
                layer.candidates.end_step()

    def after_step(self, step: int) -> None:
        if self._since(step) != self.accumulation_steps - 1:
            return
        for layer in self.layers.values():
            if layer.candidates is not None:
                self._reselect(layer, layer.candidates, self._share(step))
                layer.candidates = None

    def _since(self, step: int) -> int:
        """Steps since the current round of S began."""
        return (step - 1) % self.reselection_steps

    def _share(self, step: int) -> float:
        """The share of the entries that is exchanged: all at first, when they are random, then fewer and fewer."""
        first = step == self.accumulation_steps
        return 1.0 if first else self.reselection_rate * (1 - step / self.total_steps)

    def _reselect(self, layer: SparseLinear, candidates: Candidates, share: float) -> None:
        steps = self.accumulation_steps
        positions, chosen = layer.reselect(share, candidates)
        mean, mean_square = candidates.total[chosen] / steps, candidates.squares[chosen] / steps
        self.optimizer.seed(layer.values, positions, steps, mean, mean_square)

    def state(self) -> dict[str, Tensor]:
        tensors = {}
        for name, layer in self.layers.items():
            tensors[f"{name}.indices"] = layer.indices
            if layer.candidates is not None:
                tensors |= {f"{name}.candidates.{key}": value for key, value in layer.candidates.state().items()}
        return tensors

    def restore(self, state: dict[str, Tensor]) -> None:
        for name, layer in self.layers.items():
            layer.indices.copy_(state[f"{name}.indices"])
            prefix = f"{name}.candidates."
            saved = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            moved = {key: value.to(layer.indices.device) for key, value in saved.items()}
            layer.candidates = Candidates(**moved) if moved else None
