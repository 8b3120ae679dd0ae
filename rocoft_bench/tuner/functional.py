"""Linear layers of which only a few rows, columns or entries of the weight are trained.

Notation: x (N, d_in), weight W (d_out, d_in), S the trained rows or columns, r = |S|, N = tokens in the batch. Beside
the products of a frozen layer, its own and the gradient of x, there is a thin one: gradients for S alone, at 2*N*r*d
FLOPs where those of the whole matrix would cost 2*N*d_in*d_out.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from rocoft_bench.tuner.in_place import standing
from rocoft_bench.tuner.recompute import Product
from rocoft_bench.tuner.selection import Place, taken


def in_place_linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    trained: Tensor,
    place: Place,
    mode: str,
    with_x: Product | None = None,
    base: MergeableBase | None = None,
) -> Tensor:
    """The layer's product with the trained values in its weight. x (..., d_in) -> y (..., d_out).

    with_x: computes products with x in backward, so that it need not be kept; of columns x[:, S] is. base: whose weight
    it is, if adapters may be merged into it before the backward pass.
    """
    if not torch.is_grad_enabled():
        with standing(weight, trained, place, mode):
            return F.linear(x, weight, bias)
    y = InPlaceLinear.apply(_flat(x), weight, bias, trained, place, mode, with_x, base)
    return y.view(*x.shape[:-1], weight.shape[0])  # outside, so that y may be changed in place


class MergeableBase(Protocol):
    """A layer into whose weight adapters are merged."""

    own_changes: int
    """How often it has written into the weight, by the weight's version counter."""

    @property
    def merged(self) -> bool: ...

    def frozen(self) -> AbstractContextManager[None]:
        """The weight without any adapter, for as long as this lasts."""


class InPlaceLinear(torch.autograd.Function):
    """y = x Wᵀ + b, W with the trained values in it.

    Keeps x (N, d_in) for backward where it cannot be computed again; of columns only x[:, S].

    Its gradients are those of a dense W, of which only some entries are looked at; there is no second derivative:
    double backward raises.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        trained: Tensor,
        place: Place,
        mode: str,
        with_x: Product | None,
        base: MergeableBase | None,
    ) -> Tensor:
        kept = x if ctx.needs_input_grad[3] and with_x is None else None
        if kept is not None and mode == "column":
            kept = taken(x, place, 1).contiguous()  # (N, r); a view would keep all of x
        ctx.save_for_backward(kept, trained)
        ctx.place, ctx.mode, ctx.with_x, ctx.base = place, mode, with_x, base
        ctx.weight, ctx.version = weight, _version(weight, base)
        with standing(weight, trained, place, mode):
            return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kept, trained = ctx.saved_tensors
        (grad_y,) = grads  # (N, d_out)
        grad_x = grad_bias = grad_trained = None
        if ctx.needs_input_grad[0]:
            with _unmerged(ctx), standing(ctx.weight, trained, ctx.place, ctx.mode):
                grad_x = grad_y @ ctx.weight.to(grad_y.dtype)
        if ctx.needs_input_grad[2]:
            grad_bias = grad_y.sum(0)
        if ctx.needs_input_grad[3]:
            grad_trained = _thin_gradient(ctx, grad_y, kept).to(trained.dtype)
        return grad_x, None, grad_bias, grad_trained, None, None, None, None


def _version(weight: Tensor, base: MergeableBase | None) -> int:
    """How often the frozen weight has been changed, merging and unmerging left out."""
    return 0 if weight.is_inference() else weight._version - (base.own_changes if base else 0)


def _unmerged(ctx: Any) -> AbstractContextManager[None]:
    """The weight as the forward pass had it, whatever has been merged since."""
    if _version(ctx.weight, ctx.base) != ctx.version:
        raise RuntimeError(
            "the weight of a RoCoFT layer, needed for gradient computation, has been modified by an inplace operation"
        )
    return ctx.base.frozen() if ctx.base and ctx.base.merged else nullcontext()


def _thin_gradient(ctx: Any, grad_y: Tensor, kept: Any) -> Tensor:
    """Of r rows (r, d_in), of r columns (r, d_out) or of n entries (n,).

    grad_y (N, d_out). kept: x (N, d_in), of columns x[:, S] (N, r); None where products with x are made without.
    """
    if kept is not None:
        kept = kept.to(grad_y.dtype)
    with_x = ctx.with_x or (lambda g: g.t() @ kept)
    if ctx.mode == "row":
        return with_x(taken(grad_y, ctx.place, 1))
    if ctx.mode == "column":
        return kept.t() @ grad_y
    return taken(with_x(grad_y).flatten(), ctx.place, 0)  # the dense gradient exists for a moment


def _flat(values: Tensor) -> Tensor:
    return values.reshape(-1, values.shape[-1])


class EntryLinear(torch.autograd.Function):
    """y = x Wᵀ + b with single entries of W increased by delta (n,); indices are flat, row by row.

    Scattered entries leave no structure to exploit: the changed matrix and its dense gradient exist for a moment in
    each pass, but neither is kept.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, delta, indices)
        return F.linear(x, _changed(weight, delta, indices, x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, delta, indices = ctx.saved_tensors
        (grad_y,) = grads  # (N, d_out)
        grad_x = grad_delta = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_y @ _changed(weight, delta, indices, grad_y.dtype)
        if ctx.needs_input_grad[3]:
            grad_delta = (grad_y.t() @ x).flatten().index_select(0, indices)
        return grad_x, None, grad_y.sum(0) if ctx.needs_input_grad[2] else None, grad_delta, None


def _changed(weight: Tensor, delta: Tensor, indices: Tensor, dtype: torch.dtype) -> Tensor:
    """The dense weight (d_out, d_in) with delta added at flat indices."""
    dense = weight.to(dtype, copy=True, memory_format=torch.contiguous_format)
    dense.view(-1).index_add_(0, indices, delta.to(dtype))
    return dense


def entry_linear(x: Tensor, weight: Tensor, bias: Tensor | None, delta: Tensor, indices: Tensor) -> Tensor:
    """A frozen product with changed entries, W left alone; under autocast too. x (..., d_in) -> y (..., d_out)."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        x = x.to(torch.get_autocast_dtype(x.device.type))
    y = EntryLinear.apply(_flat(x), weight, bias, delta, indices)
    return y.view(*x.shape[:-1], weight.shape[0])


def add_update(mode: str, y: Tensor, x: Tensor, delta: Tensor, indices: Tensor, shape: torch.Size) -> Tensor:
    """Add a trained part to an output y (..., d_out) that the frozen layer, of weight shape `shape`, has computed.

    Of plain operations, which all that differentiates, transforms or compiles a model understands. delta is trained
    minus frozen value on S: (r, d_in), (r, d_out) or (n,).
    """
    delta = delta.to(x.dtype)
    if mode == "column":
        return y + x.index_select(-1, indices) @ delta
    if mode == "row":
        return y.index_add(-1, indices, F.linear(x, delta).to(y.dtype))
    dense = delta.new_zeros(shape.numel()).index_add(0, indices, delta).view(shape)
    return y + F.linear(x, dense)
