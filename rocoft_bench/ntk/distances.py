"""How near two kernels are: relative differences (Tables 5 and 13), alignment, spectra."""

from __future__ import annotations

from typing import Literal

import numpy as np

from rocoft_bench.ntk.solvers import Array


def relative_difference(kernel: Array, other: Array, p: Literal[1, 2]) -> float:
    """‖K / ‖K‖_p − K' / ‖K'‖_p‖_p of the flattened matrices."""
    ours, theirs = (each.ravel() / np.linalg.norm(each.ravel(), p) for each in (kernel, other))
    return float(np.linalg.norm(ours - theirs, p))


def alignment(kernel: Array, other: Array) -> float:
    """Centred kernel alignment (Cortes et al. 2012): 1 for kernels that are equal up to a factor and a shift of Φ."""
    ours, theirs = centred(kernel), centred(other)
    norm = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return float((ours * theirs).sum()) / norm if norm else 0.0


def centred(kernel: Array) -> Array:
    """HKH with H = I − 11ᵀ/n: the kernel of features with mean zero."""
    rows = kernel - kernel.mean(0, keepdims=True)
    return rows - rows.mean(1, keepdims=True)


def eigenvalues(kernel: Array) -> Array:
    """The largest first."""
    return np.linalg.eigvalsh(kernel)[::-1]


def difference_kernel(kernel: Array) -> Array:
    """Of two outputs for each example, (2n, 2n), that of the second minus the first, (n, n)."""
    count = len(kernel) // 2
    blocks = kernel.reshape(count, 2, count, 2)
    made: Array = blocks[:, 1, :, 1] - blocks[:, 1, :, 0] - blocks[:, 0, :, 1] + blocks[:, 0, :, 0]
    return made
