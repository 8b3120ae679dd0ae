"""What per-example gradients are made of: for each parameter, a few tensors from which every kernel follows.

For an example b, an output c and a parameter, the gradient J[b, c] is never stored for a whole model. What is kept is
small, and gives J or its inner products layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True)
class Captured:
    """Of one parameter. gradients: (B, C, …)."""

    gradients: Tensor

    @property
    def count(self) -> int:
        """Examples times outputs."""
        return self.gradients.shape[0] * self.gradients.shape[1]


@dataclass(frozen=True)
class Dense(Captured):
    """J itself, flat: (B, C, F). Of biases, norms, and of what is neither a linear layer nor an embedding."""


@dataclass(frozen=True)
class ByToken(Captured):
    """gradients: (B, C, T, d), of the outputs c by what the layer put out; inputs: (B, T, …), what came in.

    A layer that is called several times has the tokens of all calls.
    """

    inputs: Tensor


@dataclass(frozen=True)
class Matrix(ByToken):
    """Of the weight (d_out, d_in) of linear layers: J[b, c] = Σ_t gradients[b, c, t] ⊗ inputs[b, t]."""

    def without_dead_tokens(self) -> Matrix:
        """The tokens that have a gradient: padding has none, and in the last block only the position read out has."""
        alive = (self.gradients != 0).any(-1).any(1)  # (B, T)
        longest = int(alive.sum(1).max())
        if longest == alive.shape[1]:
            return self
        order = alive.sort(dim=1, descending=True, stable=True).indices[:, : max(longest, 1)]  # (B, longest)
        gradients = self.gradients.take_along_dim(order[:, None, :, None], 2)
        return Matrix(gradients, self.inputs.take_along_dim(order.unsqueeze(-1), 1))


@dataclass(frozen=True)
class SparseRows(ByToken):
    """Of an embedding (V, d), and of a decoder of which few rows matter; inputs are ids (B, T) of rows:
    J[b, c][inputs[b, t]] += gradients[b, c, t].
    """


@dataclass(frozen=True)
class Block:
    """Some examples: what their gradients are made of, by parameter, and the outputs f(x) themselves, (B, C)."""

    parameters: dict[str, Captured]
    outputs: Tensor


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
    inputs = pad_sequence([own for part in tokens for own in part.inputs], batch_first=True)  # (B, T, …)
    gradients = torch.cat([pad(part.gradients, (0, 0, 0, inputs.shape[1] - part.inputs.shape[1])) for part in tokens])
    return replace(tokens[0], gradients=gradients, inputs=inputs)
