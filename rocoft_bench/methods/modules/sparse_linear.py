"""A linear layer of which single entries are trained, and exchanged for others that promise more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rocoft_bench.methods.modules.wrappers import Wrapped
from rocoft_bench.tuner.functional import entry_linear
from rocoft_bench.tuner.selection import read, sample, write


class SparseLinear(Wrapped):
    """y = x (W + Δ)ᵀ + b, where Δ is `values` (n,) at the flat `indices` (n,) of W, row by row, and zero elsewhere."""

    indices: Tensor

    def __init__(self, base_layer: Any, count: int) -> None:
        super().__init__(base_layer)
        self.values = self.new_parameter(count)
        self.register_buffer("indices", torch.zeros(count, dtype=torch.int32, device=self.weight.device))
        self.candidates: Candidates | None = None
        self.collecting = False
        """Whether backward passes look for candidates, and then add up their gradients."""

    def draw(self, generator: np.random.Generator) -> None:
        """Choose the entries at random."""
        if not self.indices.is_meta:
            self.indices.copy_(sample(self.d_out * self.d_in, len(self.indices), generator))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        y = entry_linear(x, self.matrix, self.bias, self.values, self.indices)
        return _PassDenseGradient.apply(y, x, self._collect) if self.collecting else y

    def _collect(self, gradient: Tensor) -> None:
        """Hand a backward pass's dense gradient (d_out, d_in) to the candidates: its largest entries, at first."""
        flat = gradient.flatten()
        if self.candidates is None:
            largest = flat.abs().topk(len(self.indices), sorted=False).indices
            self.candidates = Candidates(largest.to(torch.int32))
        self.candidates.add(flat)

    @torch.no_grad()
    def reselect(self, share: float, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Exchange a share of the entries, those with the smallest |values|, for the candidates with the largest sums.

        Entries that stay cannot be grown; those to be dropped can, and then keep their values.

        Returns:
            Which of the `values` are new, and which candidates they are: two equally long vectors of positions.
        """
        count = int(share * len(self.values))
        dropped = self.values.abs().topk(count, largest=False).indices  # the smallest first
        staying = torch.ones_like(self.values, dtype=torch.bool).index_fill_(0, dropped, False)
        barred = torch.isin(candidates.indices, self.indices[staying])
        scores = candidates.total.abs().masked_fill(barred, -1.0)
        grown = scores.topk(min(count, int((~barred).sum()))).indices  # the largest first
        new = grown[~torch.isin(candidates.indices[grown], self.indices[dropped])]
        free = dropped[~torch.isin(self.indices[dropped], candidates.indices[grown])][: len(new)]
        self.indices[free] = candidates.indices[new]
        self.values[free] = 0.0
        return free, new

    @torch.no_grad()
    def merge(self) -> None:
        """Add Δ to W. Raises: ValueError if a changed entry is not finite in the base's precision."""
        changed = read(self.matrix, self.indices, "random").to(self.values.dtype) + self.values
        if not torch.isfinite(changed.to(self.weight.dtype)).all():
            raise ValueError("a merged weight is not finite")
        write(self.matrix, self.indices, "random", changed)


class Candidates:
    """Entries of a weight that may come to be trained, with the sum and sum of squares of their gradients over steps.

    All tensors are (n,). The gradient of a step is the sum over its backward passes.
    """

    def __init__(self, indices: Tensor, total: Tensor | None = None, squares: Tensor | None = None) -> None:
        zeros = torch.zeros(indices.shape, dtype=torch.float32, device=indices.device)
        self.indices = indices
        self.total = zeros if total is None else total
        self.squares = torch.zeros_like(zeros) if squares is None else squares
        self._step = torch.zeros_like(zeros)

    def add(self, gradient: Tensor) -> None:
        """Take in the flat dense gradient of one backward pass."""
        self._step += gradient.index_select(0, self.indices)

    def end_step(self) -> None:
        self.total += self._step
        self.squares.addcmul_(self._step, self._step)
        self._step.zero_()

    def state(self) -> dict[str, Tensor]:
        """Arguments that make the same candidates, between steps."""
        return {"indices": self.indices, "total": self.total, "squares": self.squares}


class _PassDenseGradient(torch.autograd.Function):
    """The identity on y = x Wᵀ; backward passes on dL/dW = gᵀ x too, to a function that may keep some of it."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, receive: Callable[[Tensor], None]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.receive = receive
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        (grad_y,) = grads  # (..., d_out)
        rows, inputs = grad_y.flatten(0, -2), x.flatten(0, -2).to(grad_y.dtype)
        ctx.receive(rows.t() @ inputs)
        return grad_y, None, None
