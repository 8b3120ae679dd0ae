"""Kernels of several parameter sets from the same captured blocks, and predictions without a kernel of test examples.

K_S(x, x') = Σ over the parts of S of ΦΦ'ᵀ, layer by layer, added up in float64;
f(x) = Σ_i α_i K_S(x, x_i) = ⟨∇_S f(x), θ⟩ with θ = Σ_i α_i ∇_S f(x_i), which takes one pass over the test examples
for all sets, draws and penalties together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rocoft_bench.ntk.kernels.captured import Block, Captured, Matrix, SparseRows
from rocoft_bench.ntk.kernels.views import View, Whole, products, token_gram, token_gram_is_cheaper, weighted_sum

ParameterSet = Mapping[str, View]
"""Which part of which captured parameter belongs to a set."""

SCRATCH = 2**24
"""Numbers of a piece of features: 64 MiB in float32."""


Part = tuple[str, View]
"""A captured parameter, and what of it."""


@dataclass(frozen=True)
class Direction:
    """θ for one part: values (A, F), in order of the pieces.

    counts: by set, how many coefficient vectors it has of these A. ids: of an embedding, the rows that θ has,
    ascending; values are then (A, U, d).
    """

    values: Tensor
    counts: dict[str, int]
    ids: Tensor | None = None


Directions = dict[Part, Direction]
"""θ of several sets."""


class GradientProducts:
    """Kernels of the given parameter sets.

    signs: whether the signs of gradients take the place of their values, on the first side and on the second, that of
    training examples: both for the kernel of signed descent, the second alone for its asymmetric one.
    scratch: the most numbers that a piece of features may take.
    """

    def __init__(
        self, sets: Mapping[str, ParameterSet], signs: tuple[bool, bool] = (False, False), scratch: int = SCRATCH
    ) -> None:
        self.sets = sets
        self.signs = signs
        self.scratch = scratch
        self._parts: dict[Part, list[str]] = {}
        for name, views in sets.items():
            for part in views.items():
                self._parts.setdefault(part, []).append(name)

    def kernels(self, first: Block, second: Block | None = None) -> dict[str, Tensor]:
        """K of each set between the examples of two blocks, or of one: (B · C, B' · C) in float64."""
        other = first if second is None else second
        shape = (first.outputs.numel(), other.outputs.numel())
        made = {name: torch.zeros(shape, dtype=torch.float64) for name in self.sets}
        for (key, view), names in self._parts.items():
            gram = self._gram(view, first.parameters[key], other.parameters[key])
            for name in names:
                made[name] += gram
        return made

    def _gram(self, view: View, first: Captured, second: Captured) -> Tensor:
        whole = isinstance(view, Whole) and not any(self.signs)
        if whole and isinstance(first, Matrix) and isinstance(second, Matrix) and token_gram_is_cheaper(first, second):
            return token_gram(first, second, self.scratch).double().cpu()
        both = [first] if second is first else [first, second]
        gram = torch.zeros(first.count, second.count, dtype=torch.float64)
        for piece in view.pieces(both, self.scratch):
            left = view.features(first, piece)
            right = left if second is first else view.features(second, piece)
            gram += (self._signed(left, 0) @ self._signed(right, 1).t()).double().cpu()
        return gram

    def _signed(self, features: Tensor, side: int) -> Tensor:
        return features.sign() if self.signs[side] else features

    def _by_tokens(self, view: View, captured: Captured, count: int, side: int) -> Matrix | None:
        """The tokens of a whole weight, where `count` θ take no more operations from them than from the gradients:
        T d_in d_out for each θ and example, in place of that for each output and example.
        """
        if self.signs[side] or not isinstance(view, Whole) or not isinstance(captured, Matrix):
            return None
        return captured if count <= captured.gradients.shape[1] else None

    def directions(self, blocks: Iterable[tuple[Block, Mapping[str, Tensor]]]) -> Directions:
        """θ = Σ_i α_i ∇f(x_i) over blocks, each with its α of each set, (A, B · C); a set without any is left out."""
        directions: Directions = {}
        for block, coefficients in blocks:
            for part, names in self._parts.items():
                own = {name: coefficients[name] for name in names if name in coefficients}
                if own:
                    new = self._direction(part[1], block.parameters[part[0]], own)
                    directions[part] = _united(directions[part], new) if part in directions else new
        return directions

    def _direction(self, view: View, captured: Captured, coefficients: Mapping[str, Tensor]) -> Direction:
        alpha = torch.cat(list(coefficients.values())).to(captured.gradients)
        counts = {name: len(own) for name, own in coefficients.items()}
        pieces = view.pieces([captured], self.scratch)
        if tokens := self._by_tokens(view, captured, len(alpha), 1):
            values = weighted_sum(tokens, alpha)
        else:
            values = torch.cat([alpha @ self._signed(view.features(captured, piece), 1) for piece in pieces], 1)
        if not isinstance(captured, SparseRows):
            return Direction(values, counts)
        return Direction(values.view(len(alpha), -1, captured.gradients.shape[-1]), counts, torch.cat(pieces))

    def scores(self, block: Block, directions: Directions) -> dict[str, Tensor]:
        """⟨∇_S f(x), θ⟩ of each set that has a θ: (B, C, A) in float64."""
        found: dict[str, Any] = {}
        for (key, view), direction in directions.items():
            total = self._products(view, block.parameters[key], direction)
            for name, own in zip(direction.counts, total.split(list(direction.counts.values()), 1), strict=True):
                found[name] = found.get(name, 0) + own
        return {name: total.view(*block.outputs.shape, -1) for name, total in found.items()}

    def _products(self, view: View, captured: Captured, direction: Direction) -> Tensor:
        """Φθᵀ of one part, (B · C, A)."""
        values = direction.values
        if tokens := self._by_tokens(view, captured, len(values), 0):
            return products(tokens, values).double().cpu()
        pieces = view.pieces([captured], self.scratch)
        if direction.ids is not None:
            step = max(1, self.scratch // (captured.count * values.shape[-1]))
            pieces, values = list(direction.ids.split(step)), values.flatten(1)
        total = torch.zeros(captured.count, len(values), dtype=torch.float64)
        start = 0
        for piece in pieces:
            features = self._signed(view.features(captured, piece), 0)
            total += (features @ values[:, start : start + features.shape[1]].t()).double().cpu()
            start += features.shape[1]
        return total


def _united(first: Direction, second: Direction) -> Direction:
    """The sum of two θ; those of an embedding have rows of their own."""
    if first.ids is None or second.ids is None:
        return replace(first, values=first.values + second.values)
    ids = torch.cat([first.ids, second.ids]).unique()
    count, _, width = first.values.shape
    values = first.values.new_zeros(count, len(ids), width)
    for own, part in ((first.ids, first.values), (second.ids, second.values)):
        values.index_add_(1, torch.searchsorted(ids, own), part)
    return Direction(values, first.counts, ids)
