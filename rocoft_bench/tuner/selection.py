"""Which rows, columns or entries of a weight are trained, and how they are read and written.

Weights have shape (d_out, d_in); indices are r row or column numbers, ascending, or n flat entry numbers: int32, but
for entries of a matrix that has more than int32 counts.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor


def layer_generator(seed: int, layer_name: str) -> np.random.Generator:
    """A generator that depends on the seed and the layer's name only, not on the order in which layers are visited."""
    return np.random.default_rng(zlib.crc32(f"{seed} {layer_name}".encode()))


def first(count: int) -> Tensor:
    """The first `count` indices, the paper's default (Section 4). Returns (count,)."""
    return torch.arange(count, dtype=torch.int32, device="cpu")


def sample(size: int, count: int, generator: np.random.Generator) -> Tensor:
    """`count` of `size` indices without replacement, ascending. Returns (count,).

    NumPy's sampler does not shuffle all `size` numbers, which for the matrices of a large model takes minutes.
    """
    chosen = generator.choice(size, count, replace=False, shuffle=False)
    chosen.sort()
    return torch.from_numpy(chosen.astype(np.int32 if size <= 2**31 else np.int64))


def wanda_scores(weight: Tensor, input_norms: Tensor, mode: str) -> Tensor:
    """Wanda scores |W_ij| * ||X_j||_2 (Eq. 3) summed to one score per row (d_out,) or per column (d_in,).

    `input_norms` (d_in,) holds ||X_j||_2 over all tokens of the calibration batches. Section 6 of the paper gives the
    two score vectors each other's length; summing over columns gives one score per row, as done here.
    """
    scores = weight.abs().to(input_norms.dtype) * input_norms
    return scores.sum(dim=1 if mode == "row" else 0)


def by_score(scores: Tensor, count: int, selection: str) -> Tensor:
    """The `count` indices at the "max" end, the "min" end, or half from each ("mixed"). Returns (count,), ascending."""
    ranking = torch.sort(scores, stable=True).indices  # ascending scores
    from_max = {"max": count, "min": 0, "mixed": (count + 1) // 2}[selection]
    low = ranking[: count - from_max]
    high = ranking[len(ranking) - from_max :]
    return torch.cat([low, high]).sort().values.to(torch.int32)


def read(weight: Tensor, indices: Tensor, mode: str) -> Tensor:
    """A copy of the selected values: r rows (r, d_in), r columns (r, d_out), or n entries (n,)."""
    if mode == "row":
        return weight.index_select(0, indices)
    if mode == "column":
        return weight.t().index_select(0, indices)
    return weight[_row_and_column(weight, indices)]


def write(weight: Tensor, indices: Tensor, mode: str, values: Tensor) -> None:
    """Put values of `read`'s shape back, in place; works through transposed views, from any device and precision."""
    values, indices = values.to(weight), indices.to(weight.device, torch.int64)
    if mode == "row":
        weight.index_copy_(0, indices, values)
    elif mode == "column":
        weight.t().index_copy_(0, indices, values)
    else:
        weight[_row_and_column(weight, indices)] = values


def _row_and_column(weight: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    columns = weight.shape[1]
    flat = indices.long()
    return flat // columns, flat % columns
