"""Choosing the trained rows and columns anew during training, by gradients, by Wanda scores or at random."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.layer import Linear

Rule = Literal["gradient", "wanda", "random"]
"""By what rows and columns are chosen anew."""


class LineScores:
    """Scores of each row and column, from all passes while `watching`.

    by "gradient": the sums of |∂loss/∂W|; a matrix' dense gradient exists for a moment in each backward pass.
    by "wanda": as `calibrate`, of the pretrained weights and the inputs that layers have now, padding among them.
    by "random": drawn anew from torch's own generator, whatever was watched.
    keeps: whether what is trained no more keeps its values, and does not go back to the pretrained ones.

    Raises:
        ValueError: If `by` is none of these, or the adapter trains single entries.
    """

    def __init__(
        self, model: nn.Module, adapter_name: str = "default", by: Rule = "gradient", keeps: bool = False
    ) -> None:
        if by not in get_args(Rule):
            raise ValueError(f"rows and columns are chosen by one of {', '.join(get_args(Rule))}, not by {by!r}")
        self.adapter_name, self.by, self.keeps = adapter_name, by, keeps
        self.layers = [m for m in model.modules() if isinstance(m, Linear) and adapter_name in m.rocoft_adapter]
        if any(layer.entries(adapter_name).config.mode == "random" for layer in self.layers):
            raise ValueError("single entries (mode random) are not chosen anew: use rows, columns or both")
        self._sums: dict[Linear, dict[str, Tensor]] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Adds up what the scores are made of, over the forward passes that are made meanwhile and their backward."""
        self._sums = {}
        hooks = [layer.register_forward_hook(self._after_forward) for layer in self.layers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _after_forward(self, layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        x = args[0].detach()
        if self.by == "wanda":
            self._add_sums(layer, inputs=x.flatten(0, -2).float().square().sum(0))  # (d_in,)
        elif self.by == "gradient" and output.requires_grad:
            output.register_hook(lambda gradient: self._add_gradient(layer, x, gradient))

    @torch.no_grad()
    def _add_gradient(self, layer: Any, x: Tensor, gradient: Tensor) -> None:
        dense = (gradient.flatten(0, -2).t() @ x.flatten(0, -2).to(gradient.dtype)).abs()  # (d_out, d_in)
        self._add_sums(layer, row=dense.sum(1, dtype=torch.float32), column=dense.sum(0, dtype=torch.float32))

    def _add_sums(self, layer: Any, **added: Tensor) -> None:
        before = self._sums.get(layer, {})
        self._sums[layer] = {name: before[name] + value if before else value for name, value in added.items()}

    def _scores(self, layer: Linear) -> dict[str, Tensor]:
        if self.by == "gradient":
            return self._sums[layer]
        if self.by == "random":
            return {"row": torch.rand(layer.out_features), "column": torch.rand(layer.in_features)}
        with layer.frozen():
            norms = self._sums[layer]["inputs"].sqrt()
            return {mode: selection.wanda_scores(layer.matrix, norms, mode) for mode in ("row", "column")}

    def reselect(self, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Train the rows or columns with the largest scores from now on.

        Those that were trained before keep their values, and what the optimizer has of them. Others start at zero in
        the optimizer and at their pretrained values, or at the kept ones. Those that are left go back to their
        pretrained values, or with `keeps` stay as they are, frozen.

        Raises:
            RuntimeError: If a layer has seen no pass while `watching`, unless by "random".
        """
        if self.by != "random" and len(self._sums) < len(self.layers):
            watched = "gradients" if self.by == "gradient" else "inputs"
            raise RuntimeError(f"{watched} were watched in {len(self._sums)} of {len(self.layers)} layers")
        for layer in self.layers:
            states = optimizer.state.get(layer.entries(self.adapter_name).weight, {}) if optimizer else {}
            indices = layer.chosen(self.adapter_name, self._scores(layer))
            move(layer, self.adapter_name, indices, states.values(), self.keeps)
        self._sums = {}


@torch.no_grad()
def move(layer: Linear, adapter_name: str, indices: Tensor, states: Iterable[Any] = (), keeps: bool = False) -> None:
    """Train what is at other indices. states: of the optimizer; those of the trained values' shape move with them."""
    entries = layer.entries(adapter_name)
    indices = indices.to(entries.indices)  # new draws are made on the CPU, the same for every device
    with layer.frozen():
        pretrained = selection.read(layer.matrix, indices, entries.mode).to(entries.weight.dtype)
    for state in states:
        if isinstance(state, Tensor) and state.shape == entries.weight.shape:
            state.copy_(_with_known(torch.zeros_like(state), indices, state, entries.indices))
    known, values = entries.all_indices, entries.all_values
    left = ~torch.isin(known, indices)
    if not keeps:
        left[: len(entries.indices)] = False
    start = _with_known(pretrained, indices, values, known)
    entries.keep(*(known[left], values[left]) if left.any() else (None, None))
    entries.weight.copy_(start)
    entries.indices.copy_(indices)


def _with_known(start: Tensor, indices: Tensor, values: Tensor, known: Tensor) -> Tensor:
    """What there is at `indices`: of those that are `known` their values, of others what they start with."""
    order = known.argsort()
    places = order[torch.searchsorted(known[order], indices).clamp(max=len(known) - 1)]
    is_known = known[places] == indices
    start[is_known] = values[places[is_known]]
    return start
