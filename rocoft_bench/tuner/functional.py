"""Linear layers of which only a few rows, columns or entries of the weight are trained.

Notation: x (N, d_in), weight (d_out, d_in), S the trained rows or columns, r = |S|, N = tokens in the batch.
`delta` (r, d) is trained value minus frozen value on S, one trained row (d = d_in) or column (d = d_out) after the
other: in that layout the narrow products below run at the speed of memory. The weight itself is never copied, changed
or differentiated: the forward pass adds delta's contribution to the frozen product, and the backward pass computes
gradients for S alone, at 2*N*r*d FLOPs where the gradient of the whole matrix would cost 2*N*d_in*d_out.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Gradients = tuple[Tensor | None, None, Tensor | None, Tensor | None, None]


class RowLinear(torch.autograd.Function):
    """y = x Wᵀ + b with W[S, :] increased by delta (r, d_in). Keeps x for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, delta, indices)
        return _frozen(x, weight, bias).index_add_(1, indices, (delta.to(x.dtype) @ x.t()).t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        x, weight, delta, indices = ctx.saved_tensors
        (grad_y,) = grads  # (N, d_out)
        grad_rows = grad_y.index_select(1, indices)  # (N, r)
        grad_x = grad_delta = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad_rows @ delta.to(grad_y.dtype)).addmm_(grad_y, weight.to(grad_y.dtype))
        if ctx.needs_input_grad[3]:
            grad_delta = grad_rows.t() @ x  # (r, d_in)
        return grad_x, None, _grad_bias(ctx, grad_y), grad_delta, None


class ColumnLinear(torch.autograd.Function):
    """y = x Wᵀ + b with W[:, S] increased by deltaᵀ, delta (r, d_out). Keeps only x[:, S], a copy, for backward.

    Without x there is nothing to differentiate a second time: double backward raises.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
        x_columns = x.index_select(1, indices)  # (N, r)
        ctx.save_for_backward(x_columns, weight, delta, indices)
        delta = delta.to(x.dtype)
        y = x_columns @ delta if bias is None else torch.addmm(bias.to(x.dtype), x_columns, delta)
        return y.addmm_(x, weight.to(x.dtype).t())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        x_columns, weight, delta, indices = ctx.saved_tensors
        (grad_y,) = grads  # (N, d_out)
        grad_x = grad_delta = None
        if ctx.needs_input_grad[0]:
            grad_columns = (delta.to(grad_y.dtype) @ grad_y.t()).t()  # (N, r)
            grad_x = (grad_y @ weight.to(grad_y.dtype)).index_add_(1, indices, grad_columns)
        if ctx.needs_input_grad[3]:
            grad_delta = x_columns.t() @ grad_y  # (r, d_out)
        return grad_x, None, _grad_bias(ctx, grad_y), grad_delta, None


class EntryLinear(torch.autograd.Function):
    """y = x Wᵀ + b with single entries of W increased by delta (n,); indices are flat, row by row.

    Scattered entries leave no structure to exploit: the changed matrix and its dense gradient exist for a moment in
    each pass, but neither is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, delta, indices)
        return _frozen(x, _changed(weight, delta, indices, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Gradients:
        x, weight, delta, indices = ctx.saved_tensors
        (grad_y,) = grads  # (N, d_out)
        grad_x = grad_delta = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_y @ _changed(weight, delta, indices, grad_y.dtype)
        if ctx.needs_input_grad[3]:
            grad_delta = (grad_y.t() @ x).flatten().index_select(0, indices)
        return grad_x, None, _grad_bias(ctx, grad_y), grad_delta, None


def _frozen(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b in the precision of x: a tensor of its own, free to be changed."""
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))


def _grad_bias(ctx: Any, grad_y: Tensor) -> Tensor | None:
    return grad_y.sum(0) if ctx.needs_input_grad[2] else None


def _changed(weight: Tensor, delta: Tensor, indices: Tensor, dtype: torch.dtype) -> Tensor:
    """The dense weight (d_out, d_in) with delta added at flat indices."""
    dense = weight.to(dtype, copy=True, memory_format=torch.contiguous_format)
    dense.view(-1).index_add_(0, indices, delta.to(dtype))
    return dense


FUSED = {"row": RowLinear, "column": ColumnLinear, "random": EntryLinear}


def fused_linear(mode: str, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
    """The frozen product and the trained part in one step, under autocast too. x (..., d_in) -> y (..., d_out)."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        x = x.to(torch.get_autocast_dtype(x.device.type))
    y = FUSED[mode].apply(x.reshape(-1, x.shape[-1]), weight, bias, delta, indices)
    return y.view(*x.shape[:-1], weight.shape[0])


def add_update(mode: str, y: Tensor, x: Tensor, delta: Tensor, indices: Tensor, shape: torch.Size) -> Tensor:
    """Add a trained part to an output y (..., d_out) that the frozen layer, of weight shape `shape`, has computed.

    The general path, for what `fused_linear` does not serve: several active adapters, or a base layer that does more
    than a plain product.
    """
    delta = delta.to(x.dtype)
    if mode == "row":
        return y.index_add(-1, indices, F.linear(x, delta).to(y.dtype))
    if mode == "column":
        return y + x.index_select(-1, indices) @ delta
    dense = delta.new_zeros(shape.numel()).index_add(0, indices, delta).view(shape)
    return y + F.linear(x, dense)
