"""Which rows, columns or entries of a weight are trained, and how they are read and written.

Weights have shape (d_out, d_in), or (E, d_out, d_in) where E matrices have the same rows or columns trained; indices
are r row or column numbers, ascending, or n flat entry numbers: int32, but for entries of a matrix that has more than
int32 counts.
"""

import zlib

import numpy as np
import torch
from torch import Tensor


def layer_generator(seed: int, layer_name: str) -> np.random.Generator:
    """A generator that depends on the seed and the layer's name only, not on the order in which layers are visited."""
    return np.random.default_rng(zlib.crc32(f"{seed} {layer_name}".encode()))


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


def crossed(rows: Tensor, columns: Tensor, shape: torch.Size) -> Tensor:
    """Flat numbers of all entries in some rows or columns of (…, d_out, d_in), ascending, each once."""
    d_out, d_in = shape[-2:]
    in_rows = rows.long()[:, None] * d_in + torch.arange(d_in, device=rows.device)
    in_columns = torch.arange(d_out, device=rows.device)[:, None] * d_in + columns.long()
    each = torch.cat([in_rows.flatten(), in_columns.flatten()]).unique()
    matrices = torch.arange(shape.numel() // (d_out * d_in), device=rows.device)[:, None]
    entries = (matrices * d_out * d_in + each).flatten()
    return entries.to(torch.int32) if shape.numel() <= 2**31 else entries


Place = slice | Tensor
"""Where trained entries lie: indices of rows, of columns, or flat ones of entries; a slice where they follow on."""


def place_of(indices: Tensor) -> Place:
    """Indices (n,) as a slice, whose values are read without a copy and written in one, or else as int64."""
    numbers = indices.long()
    if numbers.is_meta or not len(numbers) or int(numbers[0]) < 0:
        return numbers
    start, stop = int(numbers[0]), int(numbers[0]) + len(numbers)
    follow_on = torch.equal(numbers, torch.arange(start, stop, device=numbers.device))
    return slice(start, stop) if follow_on else numbers


def taken(values: Tensor, place: Place, dim: int) -> Tensor:
    """The selected part along one dimension: a view where the selection is a slice."""
    if isinstance(place, slice):
        return values.narrow(dim, place.start, place.stop - place.start)
    return values.index_select(dim, place.to(values.device))


def read(weight: Tensor, place: Place, mode: str) -> Tensor:
    """A copy of the selected values: r rows (…, r, d_in), r columns (…, r, d_out), or n entries (n,)."""
    if mode == "random" and not weight.is_contiguous():
        return weight[_coordinates(weight, place)]
    lines, dim = _lines(weight, mode)
    return taken(lines, place, dim).clone() if isinstance(place, slice) else taken(lines, place, dim)


def write(weight: Tensor, place: Place, mode: str, values: Tensor) -> None:
    """Put values of `read`'s shape back, in place; works through transposed views, from any device and precision."""
    if mode == "random" and not weight.is_contiguous():
        weight[_coordinates(weight, place)] = values.to(weight)
        return
    lines, dim = _lines(weight, mode)
    if isinstance(place, slice):
        taken(lines, place, dim).copy_(values)
    else:
        lines.index_copy_(dim, place.to(weight.device, torch.int64), values.to(weight))


def written(weight: Tensor, indices: Tensor, mode: str, values: Tensor) -> Tensor:
    """A copy of a weight with other values at the indices, through which gradients reach those values."""
    indices, values = indices.to(weight.device, torch.int64), values.to(weight)
    if mode == "random":
        return weight.flatten().index_copy(0, indices, values).view(weight.shape)
    lines, dim = _lines(weight, mode)
    changed = lines.index_copy(dim, indices, values)
    return changed if mode == "row" else changed.mT


def _lines(weight: Tensor, mode: str) -> tuple[Tensor, int]:
    """A view, and its dimension that the indices of a mode count along."""
    if mode == "random":
        return weight.view(-1), 0
    return (weight if mode == "row" else weight.mT), -2


def _coordinates(weight: Tensor, place: Place) -> tuple[Tensor, ...]:
    flat = torch.arange(place.start, place.stop) if isinstance(place, slice) else place
    return torch.unravel_index(flat.to(weight.device, torch.int64), weight.shape)
