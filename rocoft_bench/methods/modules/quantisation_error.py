"""LoftQ's start: weights rounded to 4 bits, and the best low-rank product for what the rounding took away."""

from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch import Tensor

from rocoft_bench.methods.modules.wrappers import matrix_of


def nf4(weight: Tensor) -> Tensor:
    """The nearest values that 4-bit NormalFloat numbers with a scale per 64 of them can take."""
    flat = weight.reshape(-1)  # bitsandbytes 0.50 misreads, on the CPU, blocks that go over the end of a row
    return dequantize_4bit(*quantize_4bit(flat, quant_type="nf4")).view_as(weight)


@torch.no_grad()
def quantise(linear: Any, rank: int, iterations: int) -> Tensor:
    """Round the layer's weight W in place to LoftQ's Q, and return W - Q (d_out, d_in) in float32."""
    matrix = matrix_of(linear)
    exact = matrix.to(torch.float32, copy=True)
    if torch.cuda.is_available() and not exact.is_meta:  # a large matrix's decomposition takes a minute on a CPU
        exact = exact.cuda()
    rounded = nf4(exact)
    for _ in range(iterations - 1):
        b, a = factors(exact - rounded, rank)
        rounded = nf4(exact - b @ a)
    matrix.copy_(rounded)
    return exact - matrix.to(exact)


@torch.no_grad()
def start_from(layer: Any, error: Tensor) -> None:
    """Let a LoRA layer's change s B A begin as the best approximation of `error`; ranks past the full one as LoRA's."""
    lora_a, lora_b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    b, a = factors(error / layer.scaling["default"], layer.r["default"])
    lora_a[: len(a)] = a.to(lora_a)
    lora_b[:, : len(a)] = b.to(lora_b)


def factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(d_out, d_in) -> B (d_out, r), A (r, d_in) with the best B A of that rank, both of the same size."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * vh[:rank]
