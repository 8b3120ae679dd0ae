"""What per-example gradients are made of: for each parameter, a few tensors from which every kernel follows.

For an example b, an output c and a parameter, the gradient J[b, c] is never stored for a whole model. What is kept is
small, and gives J or its inner products layer by layer.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Captured(ABC):
    """Of one parameter. gradients: (B, C, …)."""

    gradients: Tensor

    @property
    def count(self) -> int:
        """Examples times outputs."""
        return self.gradients.shape[0] * self.gradients.shape[1]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in vars(self).values())

    @abstractmethod
    def total(self, shape: torch.Size) -> Tensor:
        """The sum of J over examples and outputs. shape: of the parameter."""


@dataclass(frozen=True)
class Dense(Captured):
    """J itself, flat: (B, C, F). Of biases, norms, and of what is neither a linear layer nor an embedding."""

    def total(self, shape: torch.Size) -> Tensor:
        return self.gradients.sum((0, 1)).reshape(shape)


@dataclass(frozen=True)
class ByToken(Captured):
    """gradients: (B, C, T, d), of the outputs c by what the layer put out; inputs: (B, T, …), what came in.

    A layer that is called several times has the tokens of all calls.
    """

    inputs: Tensor


@dataclass(frozen=True)
class Matrix(ByToken):
    """Of the weight (d_out, d_in) of linear layers: J[b, c] = Σ_t gradients[b, c, t] ⊗ inputs[b, t]."""

    def total(self, shape: torch.Size) -> Tensor:
        return self.gradients.sum(1).flatten(0, 1).t() @ self.inputs.flatten(0, 1)


@dataclass(frozen=True)
class SparseRows(ByToken):
    """Of an embedding (V, d), and of a decoder of which few rows matter; inputs are ids (B, T) of rows:
    J[b, c][inputs[b, t]] += gradients[b, c, t].
    """

    def total(self, shape: torch.Size) -> Tensor:
        rows = self.gradients.sum(1).flatten(0, 1)
        return rows.new_zeros(shape).index_add_(0, self.inputs.flatten(), rows)


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
    gradients = matrix.gradients.take_along_dim(order[:, None, :, None], 2)
    return Matrix(gradients, matrix.inputs.take_along_dim(order.unsqueeze(-1), 1))


def merged(uses: Sequence[Captured]) -> Captured:
    """A parameter's several uses on the same examples, as one."""
    if len(uses) == 1:
        return uses[0]
    tokens = [use for use in uses if isinstance(use, ByToken)]
    if not tokens:
        return Dense(torch.stack([use.gradients for use in uses]).sum(0))
    inputs = torch.cat([use.inputs for use in tokens], 1)
    return replace(tokens[0], gradients=torch.cat([use.gradients for use in tokens], 2), inputs=inputs)


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
    tokens = [part for part in parts if isinstance(part, ByToken)]
    longest = max(part.inputs.shape[1] for part in tokens)
    inputs = torch.cat([_lengthened(part.inputs, 1, longest) for part in tokens])
    return replace(
        tokens[0], gradients=torch.cat([_lengthened(p.gradients, 2, longest) for p in tokens]), inputs=inputs
    )


def _lengthened(tensor: Tensor, dim: int, size: int) -> Tensor:
    """With zeros at the end of a dimension."""
    behind = (0, 0) * (tensor.dim() - dim - 1)
    return pad(tensor, (*behind, 0, size - tensor.shape[dim]))
