"""Choosing the trained rows and columns anew during training, by the gradients of all of them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.layer import Linear


class GradientScores:
    """The sums of |∂loss/∂W| over each row and column, of all backward passes while `watching`.

    Of each matrix two vectors, (d_out,) and (d_in,); its dense gradient exists for a moment in each pass.
    """

    def __init__(self, model: nn.Module, adapter_name: str = "default") -> None:
        self.adapter_name = adapter_name
        self.layers = [m for m in model.modules() if isinstance(m, Linear) and adapter_name in m.rocoft_adapter]
        if any(layer.entries(adapter_name).config.mode == "random" for layer in self.layers):
            raise ValueError("single entries (mode random) are not chosen anew: use rows, columns or both")
        self._sums: dict[Linear, dict[str, Tensor]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Adds up the scores of the backward passes of forward passes that are made meanwhile."""
        self._sums = {}
        hooks = [layer.register_forward_hook(self._after_forward) for layer in self.layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _after_forward(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        x = args[0].detach()
        if output.requires_grad:
            output.register_hook(lambda gradient: self._add(layer, x, gradient))

    @torch.no_grad()
    def _add(self, layer: Any, x: Tensor, gradient: Tensor) -> None:
        dense = (gradient.flatten(0, -2).t() @ x.flatten(0, -2).to(gradient.dtype)).abs()  # (d_out, d_in)
        sums = self._sums.setdefault(layer, {"row": torch.zeros(()), "column": torch.zeros(())})
        for mode, dim in (("row", 1), ("column", 0)):
            sums[mode] = sums[mode].to(dense.device) + dense.sum(dim, dtype=torch.float32)

    def reselect(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Train the rows or columns with the largest scores from now on.

        Those that were trained before keep their values, and what the optimizer has of them. Others start at their
        pretrained values, and zero in the optimizer; those that are left go back to their pretrained values.

        Raises:
            RuntimeError: If a layer has seen no backward pass while `watching`.
        """
        if len(self._sums) < len(self.layers):
            raise RuntimeError(f"gradients were watched in {len(self._sums)} of {len(self.layers)} layers")
        for layer in self.layers:
            states = optimizer.state.get(layer.entries(self.adapter_name).weight, {}) if optimizer else {}
            move(layer, self.adapter_name, layer.chosen(self.adapter_name, self._sums[layer]), states.values())
        self._sums = {}


@torch.no_grad()
def move(layer: Linear, adapter_name: str, indices: Tensor, states: Iterable[Any] = ()) -> None:
    """Train what is at other indices. states: of the optimizer; those of the trained values' shape move with them."""
    entries = layer.entries(adapter_name)
    places = torch.searchsorted(entries.indices, indices.to(entries.indices)).clamp(max=len(indices) - 1)
    stays = entries.indices[places] == indices
    with layer.frozen():
        pretrained = selection.read(layer.matrix, indices, entries.mode).to(entries.weight.dtype)
    like_values = [state for state in states if isinstance(state, Tensor) and state.shape == entries.weight.shape]
    for values, start in ((entries.weight, pretrained), *((state, torch.zeros_like(state)) for state in like_values)):
        start[stays] = values[places[stays]]
        values.copy_(start)
    entries.indices.copy_(indices)
