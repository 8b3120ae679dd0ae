"""What per-example gradients are made of: for each parameter, a few tensors from which every kernel follows.

For an example b, an output c and a parameter, the gradient J[b, c] is never stored for a whole model. What is kept is
small, and gives J or its inner products layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Matrix:
    """Of the weight (d_out, d_in) of linear layers: J[b, c] = Σ_t gradients[b, c, t] ⊗ inputs[b, t].

    inputs: (B, T, d_in), what came in; gradients: (B, C, T, d_out), of the outputs c by what went out. A layer that is
    called several times has the tokens of all calls.
    """

    inputs: Tensor
    gradients: Tensor

    @property
    def count(self) -> int:
        return self.gradients.shape[0] * self.gradients.shape[1]

    @property
    def nbytes(self) -> int:
        return self.inputs.nbytes + self.gradients.nbytes

    def total(self, shape: torch.Size) -> Tensor:
        """The sum of J over examples and outputs, (d_out, d_in)."""
        return self.gradients.sum(1).flatten(0, 1).t() @ self.inputs.flatten(0, 1)


@dataclass(frozen=True)
class SparseRows:
    """Of an embedding (V, d), and of a decoder of which few rows matter: J[b, c][ids[b, t]] += gradients[b, c, t].

    ids: (B, T); gradients: (B, C, T, d).
    """

    ids: Tensor
    gradients: Tensor

    @property
    def count(self) -> int:
        return self.gradients.shape[0] * self.gradients.shape[1]

    @property
    def nbytes(self) -> int:
        return self.ids.nbytes + self.gradients.nbytes

    def total(self, shape: torch.Size) -> Tensor:
        """The sum of J over examples and outputs, of the parameter's shape (V, d)."""
        rows = self.gradients.sum(1).flatten(0, 1)
        return rows.new_zeros(shape).index_add_(0, self.ids.flatten(), rows)


@dataclass(frozen=True)
class Dense:
    """J itself, flat: (B, C, F). Of biases, norms, and of what is neither a linear layer nor an embedding."""

    gradients: Tensor

    @property
    def count(self) -> int:
        return self.gradients.shape[0] * self.gradients.shape[1]

    @property
    def nbytes(self) -> int:
        return self.gradients.nbytes

    def total(self, shape: torch.Size) -> Tensor:
        """The sum of J over examples and outputs."""
        return self.gradients.sum((0, 1)).reshape(shape)


Captured = Matrix | SparseRows | Dense
C = TypeVar("C", Matrix, SparseRows, Dense)


@dataclass(frozen=True)
class Block:
    """Some examples: what their gradients are made of, by parameter, and the outputs f(x) themselves, (B, C)."""

    parameters: dict[str, Captured]
    outputs: Tensor

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(captured.nbytes for captured in self.parameters.values())


def without_dead_tokens(matrix: Matrix) -> Matrix:
    """The tokens that have a gradient: padding has none, and in the last block only the position read out has one."""
    alive = (matrix.gradients != 0).any(-1).any(1)  # (B, T)
    longest = int(alive.sum(1).max())
    if longest == alive.shape[1]:
        return matrix
    order = alive.sort(dim=1, descending=True, stable=True).indices[:, : max(longest, 1)]  # (B, longest)
    picked = order.unsqueeze(-1)
    return Matrix(
        matrix.inputs.gather(1, picked.expand(-1, -1, matrix.inputs.shape[-1])),
        matrix.gradients.gather(
            2, picked.unsqueeze(1).expand(-1, matrix.gradients.shape[1], -1, matrix.gradients.shape[-1])
        ),
    )


def merged(uses: Sequence[Captured]) -> Captured:
    """A parameter's several uses on the same examples, as one."""
    first = uses[0]
    if len(uses) == 1:
        return first
    if isinstance(first, Matrix):
        own = [use for use in uses if isinstance(use, Matrix)]
        return Matrix(torch.cat([u.inputs for u in own], 1), torch.cat([u.gradients for u in own], 2))
    if isinstance(first, SparseRows):
        rows = [use for use in uses if isinstance(use, SparseRows)]
        return SparseRows(torch.cat([u.ids for u in rows], 1), torch.cat([u.gradients for u in rows], 2))
    return Dense(torch.stack([use.gradients for use in uses]).sum(0))


def joined(blocks: Sequence[Block]) -> Block:
    """The examples of several blocks as one; shorter ones get tokens without a gradient. The blocks are used up: there
    are never two copies of all.
    """
    if len(blocks) == 1:
        return blocks[0]
    names = dict.fromkeys(name for block in blocks for name in block.parameters)
    parameters = {name: _joined([block.parameters.pop(name) for block in blocks]) for name in names}
    return Block(parameters, torch.cat([block.outputs for block in blocks]))


def _joined(parts: Sequence[Captured]) -> Captured:
    if isinstance(parts[0], Dense):
        return Dense(torch.cat([part.gradients for part in parts]))
    tokens = max(part.gradients.shape[2] for part in parts)
    gradients = torch.cat([pad(part.gradients, (0, 0, 0, tokens - part.gradients.shape[2])) for part in parts])
    if isinstance(parts[0], SparseRows):
        ids = [pad(part.ids, (0, tokens - part.ids.shape[1])) for part in parts if isinstance(part, SparseRows)]
        return SparseRows(torch.cat(ids), gradients)
    inputs = [pad(p.inputs, (0, 0, 0, tokens - p.inputs.shape[1])) for p in parts if isinstance(p, Matrix)]
    return Matrix(torch.cat(inputs), gradients)
