"""Linear layers of which only a few rows, columns or entries of the weight are trained.

Notation: x (..., d_in), weight (d_out, d_in), S the trained rows or columns, r = |S|, N = tokens in the batch.
`delta` is trained value minus frozen value on S. The weight itself is never copied, changed or differentiated: the
forward pass adds delta's contribution to the frozen product, and the backward pass computes gradients for S alone,
at 2*N*r*d FLOPs where the gradient of the whole matrix would cost 2*N*d_in*d_out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Gradients = tuple[Tensor | None, None, Tensor | None, Tensor | None, None]


def _rows(x: Tensor) -> Tensor:
    """Fold all leading dimensions: (..., d) -> (N, d)."""
    return x.reshape(-1, x.shape[-1])


class RowLinear(torch.autograd.Function):
    """y = x Wᵀ + b with W[S, :] increased by delta (r, d_in). Keeps x for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
        y = F.linear(x, weight.to(x.dtype), bias)
        delta = delta.to(x.dtype)
        _rows(y).index_add_(1, indices, _rows(x) @ delta.t())
        ctx.save_for_backward(x, weight, delta, indices)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        x, weight, delta, indices = ctx.saved_tensors
        grad_y = _rows(grads[0])  # (N, d_out)
        grad_rows = grad_y.index_select(1, indices)  # (N, r)
        grad_x = grad_delta = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_y @ weight.to(grad_y.dtype)).addmm_(grad_rows, delta).view_as(x)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_y.sum(0)
        if ctx.needs_input_grad[3]:
            grad_delta = grad_rows.t() @ _rows(x)  # (r, d_in)
        return grad_x, None, grad_bias, grad_delta, None


class ColumnLinear(torch.autograd.Function):
    """y = x Wᵀ + b with W[:, S] increased by delta (d_out, r). Keeps only x[..., S], a copy, for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
        y = F.linear(x, weight.to(x.dtype), bias)
        delta = delta.to(x.dtype)
        x_columns = _rows(x).index_select(1, indices)  # (N, r)
        _rows(y).addmm_(x_columns, delta.t())
        ctx.save_for_backward(x_columns, weight, delta, indices)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        x_columns, weight, delta, indices = ctx.saved_tensors
        grad_y = _rows(grads[0])  # (N, d_out)
        grad_x = grad_delta = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_y @ weight.to(grad_y.dtype)).index_add_(1, indices, grad_y @ delta)
            grad_x = grad_x.view(*grads[0].shape[:-1], -1)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_y.sum(0)
        if ctx.needs_input_grad[3]:
            grad_delta = grad_y.t() @ x_columns  # (d_out, r)
        return grad_x, None, grad_bias, grad_delta, None


class EntryLinear(torch.autograd.Function):
    """y = x Wᵀ + b with single entries of W increased by delta (n,); indices are flat, row by row.

    Scattered entries leave no structure to exploit: the changed matrix and its dense gradient exist for a moment in
    each pass, but neither is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, delta, indices)
        return F.linear(x, _changed(weight, delta, indices, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        x, weight, delta, indices = ctx.saved_tensors
        grad_y = _rows(grads[0])  # (N, d_out)
        grad_x = grad_delta = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_y @ _changed(weight, delta, indices, grad_y.dtype)).view_as(x)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_y.sum(0)
        if ctx.needs_input_grad[3]:
            grad_delta = (grad_y.t() @ _rows(x)).flatten().index_select(0, indices).to(delta.dtype)
        return grad_x, None, grad_bias, grad_delta, None


def _changed(weight: Tensor, delta: Tensor, indices: Tensor, dtype: torch.dtype) -> Tensor:
    """The dense weight (d_out, d_in) with delta added at flat indices."""
    return weight.flatten().to(dtype).index_add(0, indices, delta.to(dtype)).view(weight.shape)


FUSED = {"row": RowLinear, "column": ColumnLinear, "random": EntryLinear}


def fused_linear(
    mode: str, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor
) -> Tensor:
    """The frozen product and the trained part in one step, under autocast too. Returns y (..., d_out)."""
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, bias = x.to(dtype), bias if bias is None else bias.to(dtype)
    return FUSED[mode].apply(x, weight, bias, delta, indices)


def add_update(mode: str, y: Tensor, x: Tensor, delta: Tensor, indices: Tensor, shape: torch.Size) -> Tensor:
    """Add a trained part to an output y (..., d_out) that the frozen layer, of weight shape `shape`, has computed.

    The general path, for what `fused_linear` does not serve: several active adapters, or a base layer with hooks.
    """
    delta = delta.to(x.dtype)
    if mode == "row":
        return y.index_add(-1, indices, F.linear(x, delta).to(y.dtype))
    if mode == "column":
        return y + F.linear(x.index_select(-1, indices), delta)
    dense = delta.new_zeros(shape.numel()).index_add(0, indices, delta).view(shape)
    return y + F.linear(x, dense)
