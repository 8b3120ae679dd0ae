"""How near kernels are: relative differences (Tables 5 and 13), alignment, spectra; and the kernels of two analyses
held side by side, or of files that the code that the paper follows has written.

LM-Kernel-FT stores its training kernels with torch.save: a tensor (c, n, n), a kernel of its own for each logit. Such a
file is read as tensors only; no code in it is run.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from rocoft_bench.errors import UserError
from rocoft_bench.ntk.kernel_files import KernelDirectory, read_tensors
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


@dataclass(frozen=True)
class Pair:
    """Two kernels of one name. scale: largest entry of the second by that of the first."""

    name: str
    size: int
    difference_1: float
    difference_2: float
    alignment: float
    scale: float


def compared(first: Path, second: Path) -> list[Pair]:
    """How near the kernels are that both have; where either has only one, it is compared with all of the other.

    Raises: UserError if one of them holds no kernels, or they have none of the same name and size.
    """
    ours, theirs = read_kernels(first), read_kernels(second)
    any_names = 1 in (len(ours), len(theirs))
    pairs = [
        _pair(a if a == b else f"{a} and {b}", ours[a], theirs[b])
        for a, b in product(ours, theirs)
        if (any_names or a == b) and ours[a].shape == theirs[b].shape
    ]
    if not pairs:
        said = [", ".join(f"{name} {len(kernel)}" for name, kernel in own.items()) for own in (ours, theirs)]
        raise UserError(f"no kernels of the same name and size: {first} has {said[0]}; {second} has {said[1]}")
    return pairs


def _pair(name: str, first: Tensor, second: Tensor) -> Pair:
    a, b = first.double().numpy(), second.double().numpy()
    scale = float(abs(b).max() / abs(a).max())
    return Pair(name, len(a), relative_difference(b, a, 1), relative_difference(b, a, 2), alignment(a, b), scale)


def read_kernels(place: Path) -> dict[str, Tensor]:
    """The square matrices of finite numbers in a folder or file, by name.

    Raises: UserError if there is no such file, it cannot be read, or it holds no kernel.
    """
    file = KernelDirectory(place).kernels if place.is_dir() else place
    if not file.is_file():
        raise UserError(f"{file}: there is no such file; give the folder of an analysis, or a .pt or .safetensors file")
    tensors = _of_torch(file) if file.suffix == ".pt" else read_tensors(file)
    if tensors is None:
        raise UserError(f"{file}: is not a whole safetensors file")
    kernels = {name: tensor for name, tensor in tensors.items() if _is_kernel(name, tensor)}
    if not kernels:
        raise UserError(f"{file}: holds no symmetric matrix of finite numbers other than zero")
    return kernels


def _is_kernel(name: str, tensor: Tensor) -> bool:
    """Of files of other programs only what is symmetric, which keeps a model's weights out."""
    is_square = tensor.dim() == 2 and tensor.shape[0] == tensor.shape[1] and tensor.is_floating_point()
    if not (is_square and tensor.isfinite().all() and tensor.any()):
        return False
    return name.startswith("K_") or torch.allclose(tensor, tensor.t(), rtol=1e-3, atol=1e-5 * float(tensor.abs().max()))


def _of_torch(file: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged or a hostile file raises is of many kinds
        raise UserError(f"{file}: is not a file of tensors alone ({' '.join(str(error).split())[:120]})") from None
    return dict(_named(content, file.stem))


def _named(content: Any, name: str) -> list[tuple[str, Tensor]]:
    """The matrices of a tensor, or of a dictionary or list of them."""
    if isinstance(content, dict):
        return [pair for key, value in content.items() for pair in _named(value, str(key))]
    if isinstance(content, list | tuple):
        return [pair for index, value in enumerate(content) for pair in _named(value, f"{name}[{index}]")]
    if not isinstance(content, Tensor):
        return []
    if content.dim() == 3:
        return [(f"{name}[{index}]" if len(content) > 1 else name, matrix) for index, matrix in enumerate(content)]
    return [(name, content)]
