"""Parts of a parameter's gradient: all of it, some rows or columns, single entries, or what an adapter would get.

A view turns what was captured into features Φ (N, F), one row for each example and output, so that the kernel of that
part is ΦΦᵀ. F may be large: `pieces` cuts it so that no piece takes more than `limit` numbers.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rocoft_bench.ntk.kernels.captured import Captured, Dense, Matrix, SparseRows

Piece = Any
"""What `features` is asked for at a time: a range of output rows, some ids of an embedding, or None for all."""


class View(ABC):
    """A part of a parameter's gradient, or of an adapter's that stands at that parameter."""

    def pieces(self, captured: Sequence[Captured], limit: int) -> list[Piece]:
        """How to go through the features of all of these, which are of the same parameter."""
        return [None]

    @abstractmethod
    def features(self, captured: Captured, piece: Piece) -> Tensor:
        """Φ of a piece, (B · C, F)."""

    @abstractmethod
    def size(self, shape: torch.Size) -> int:
        """Length of the gradient. shape: (d_out, d_in), or the parameter's."""


@dataclass(frozen=True)
class Whole(View):
    """All of the parameter."""

    def pieces(self, captured: Sequence[Captured], limit: int) -> list[Piece]:
        rows, first = max(each.count for each in captured), captured[0]
        if isinstance(first, Matrix):
            step = max(1, limit // (rows * first.inputs.shape[-1]))
            return [slice(start, start + step) for start in range(0, first.gradients.shape[-1], step)]
        ids = [each.inputs.flatten() for each in captured if isinstance(each, SparseRows)]
        step = max(1, limit // (rows * first.gradients.shape[-1]))
        return list(torch.cat(ids).unique().split(step)) if ids else [None]

    def features(self, captured: Captured, piece: Piece) -> Tensor:
        if isinstance(captured, Dense):
            return captured.gradients.flatten(0, 1)
        if isinstance(captured, SparseRows):
            return _rows_of(captured, piece)
        assert isinstance(captured, Matrix)
        return _outer(captured.gradients[..., piece], captured.inputs)

    def size(self, shape: torch.Size) -> int:
        return shape.numel()


@dataclass(frozen=True, eq=False)
class Entries(View):
    """Single entries of a weight. indices: (n,), of the flat matrix (d_out, d_in), ascending."""

    indices: Tensor
    d_in: int

    def pieces(self, captured: Sequence[Captured], limit: int) -> list[Piece]:
        return Whole().pieces(captured, limit)

    def features(self, captured: Captured, piece: Piece) -> Tensor:
        bounds = torch.tensor([piece.start * self.d_in, piece.stop * self.d_in])
        low, high = torch.searchsorted(self.indices, bounds).tolist()
        return Whole().features(captured, piece)[:, self.indices[low:high] - bounds[0]]

    def size(self, shape: torch.Size) -> int:
        return len(self.indices)


class PartOfMatrix(View):
    """Small enough to be one piece."""

    def features(self, captured: Captured, piece: Piece) -> Tensor:
        assert isinstance(captured, Matrix)
        return self.of_tokens(captured.gradients, captured.inputs)

    @abstractmethod
    def of_tokens(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        """Φ (B · C, F) from gradients (B, C, T, d_out) and inputs (B, T, d_in)."""


@dataclass(frozen=True)
class Lines(PartOfMatrix):
    """Some rows of a weight (d_out, d_in), or some of its columns."""

    indices: tuple[int, ...]
    are_rows: bool

    def of_tokens(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        chosen = list(self.indices)
        return _outer(gradients[..., chosen], inputs) if self.are_rows else _outer(gradients, inputs[..., chosen])

    def size(self, shape: torch.Size) -> int:
        return len(self.indices) * shape[1 if self.are_rows else 0]


@dataclass(frozen=True, eq=False)
class Projected(PartOfMatrix):
    """LoRA's B at the start, where B = 0: y = W x + s B A x gives s J Aᵀ, and A itself no gradient. factor: s A."""

    factor: Tensor

    def of_tokens(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        return _outer(gradients, inputs @ self.factor.t())

    def size(self, shape: torch.Size) -> int:
        return shape[0] * self.factor.shape[0]


@dataclass(frozen=True, eq=False)
class OutputScale(PartOfMatrix):
    """(IA)³'s vector on what a layer puts out, at its start (all ones)."""

    weight: Tensor
    bias: Tensor | None

    def of_tokens(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        outputs = torch.nn.functional.linear(inputs, self.weight, self.bias)
        return torch.einsum("bcto,bto->bco", gradients, outputs).flatten(0, 1)

    def size(self, shape: torch.Size) -> int:
        return shape[0]


@dataclass(frozen=True, eq=False)
class InputScale(PartOfMatrix):
    """(IA)³'s vector on what goes into a layer, at its start (all ones)."""

    weight: Tensor

    def of_tokens(self, gradients: Tensor, inputs: Tensor) -> Tensor:
        return torch.einsum("bcti,bti->bci", gradients @ self.weight, inputs).flatten(0, 1)

    def size(self, shape: torch.Size) -> int:
        return shape[1]


def _outer(gradients: Tensor, inputs: Tensor) -> Tensor:
    """Σ_t gradients[b, c, t] ⊗ inputs[b, t] from (B, C, T, o) and (B, T, i), as (B · C, o · i)."""
    examples, outputs, _, wide = gradients.shape
    stacked = gradients.transpose(2, 3).reshape(examples, outputs * wide, -1)  # (B, C · o, T)
    return (stacked @ inputs).reshape(examples * outputs, -1)


def _rows_of(captured: SparseRows, ids: Tensor) -> Tensor:
    """The gradient's rows `ids` (U,), ascending: (B · C, U · d)."""
    examples, outputs, _, width = captured.gradients.shape
    place = torch.searchsorted(ids, captured.inputs).clamp(max=len(ids) - 1)  # (B, T)
    found = ids[place] == captured.inputs
    rows = captured.gradients.new_zeros(examples, outputs, len(ids), width)
    values = captured.gradients * found[:, None, :, None]
    where = place[:, None, :, None].expand_as(values)
    return rows.scatter_add_(2, where, values).flatten(2).flatten(0, 1)


def weighted_sum(matrix: Matrix, weights: Tensor) -> Tensor:
    """Σ_bc weights[a, b · c] J[b, c] without any J: (A, d_out · d_in), from weights (A, B · C)."""
    examples, outputs, _, _ = matrix.gradients.shape
    inputs = matrix.inputs.flatten(0, 1)
    rows = []
    for row in weights:
        gradients = torch.einsum("bcto,bc->bto", matrix.gradients, row.view(examples, outputs))
        rows.append((gradients.flatten(0, 1).t() @ inputs).flatten())
    return torch.stack(rows)


def products(matrix: Matrix, directions: Tensor) -> Tensor:
    """⟨J[b, c], θ_a⟩ without any J, Σ_t ⟨gradients[b, c, t], θ_a inputs[b, t]⟩: (B · C, A), θ (A, d_out · d_in)."""
    columns = []
    for theta in directions:
        moved = matrix.inputs @ theta.view(matrix.gradients.shape[-1], -1).t()  # (B, T, d_out)
        columns.append(torch.einsum("bcto,bto->bc", matrix.gradients, moved).flatten())
    return torch.stack(columns, 1)


def token_gram_is_cheaper(first: Matrix, second: Matrix) -> bool:
    """Whether ΦΦ'ᵀ of a whole weight takes fewer floating-point operations from the tokens than from the gradients.

    From tokens: T T' (d_in + C² d_out) for each pair of examples. From gradients: C² d_in d_out for each pair, and
    T C d_in d_out for each example on either side.
    """
    n, outputs, tokens, d_out = first.gradients.shape
    m, d_in, others = second.gradients.shape[0], first.inputs.shape[-1], second.gradients.shape[2]
    by_tokens = n * m * tokens * others * (d_in + outputs**2 * d_out)
    by_gradients = (n * m * outputs + n * tokens + (0 if second is first else m * others)) * outputs * d_in * d_out
    return by_tokens < by_gradients


def token_gram(first: Matrix, second: Matrix, limit: int) -> Tensor:
    """ΦΦ'ᵀ of a whole weight, (B · C, B' · C): Σ_tt' ⟨inputs, inputs'⟩ ⟨gradients, gradients'⟩."""
    n, outputs, tokens, _ = first.gradients.shape
    m, _, others, _ = second.gradients.shape
    right_inputs, right = second.inputs.flatten(0, 1), second.gradients.flatten(0, 2)
    step = max(1, limit // math.prod((outputs, tokens, m, outputs, others)))
    parts = []
    for start in range(0, n, step):
        inputs, gradients = first.inputs[start : start + step], first.gradients[start : start + step]
        by_input = (inputs.flatten(0, 1) @ right_inputs.t()).view(-1, 1, tokens, m, 1, others)
        by_gradient = (gradients.flatten(0, 2) @ right.t()).view(-1, outputs, tokens, m, outputs, others)
        parts.append((by_gradient * by_input).sum((2, 5)))  # (step, C, m, C)
    return torch.cat(parts).flatten(2).flatten(0, 1)
