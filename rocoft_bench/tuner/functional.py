"""Linear layers of which only a few rows, columns or entries of the weight are trained.

Notation: x (N, d_in), weight W (d_out, d_in), S the trained rows or columns, r = |S|, N = tokens in the batch. Beside
the products of a frozen layer, its own and the gradient of x, there is a thin one: gradients for S alone, at 2*N*r*d
FLOPs where those of the whole matrix would cost 2*N*d_in*d_out.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.multiprocessing.reductions import StorageWeakRef

from rocoft_bench.tuner.in_place import InWeight, MergeableBase, StandingValues
from rocoft_bench.tuner.recompute import Product
from rocoft_bench.tuner.selection import Place, taken


def in_place_linear(
    x: Tensor,
    bias: Tensor | None,
    values: StandingValues,
    with_x: Product | None = None,
    base: MergeableBase | None = None,
) -> Tensor:
    """The layer's product with the trained values in its weight. x (..., d_in) -> y (..., d_out).

    with_x: computes products with x in backward, so that it need not be kept; of columns x[:, S] is. base: whose weight
    it is, if adapters may be merged into it before the backward pass, or the trained values stand there already.
    """
    if not torch.is_grad_enabled():
        with InWeight(values, values.trained, base):
            return F.linear(x, values.weight, bias)
    y: Tensor = InPlaceLinear.apply(x.reshape(-1, x.shape[-1]), bias, values.trained, values, with_x, base)
    return y.view(*x.shape[:-1], values.weight.shape[0])  # outside, so that y may be changed in place


class InPlaceLinear(torch.autograd.Function):
    """y = x Wᵀ + b, W with the trained values in it.

    Keeps x (N, d_in) for backward where it cannot be computed again; of columns only x[:, S]. Also the few frozen
    values that the trained ones replace.

    Its gradients are those of a dense W, of which only some entries are looked at; there is no second derivative:
    double backward raises.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        bias: Tensor | None,
        trained: Tensor,
        values: StandingValues,
        with_x: Product | None,
        base: MergeableBase | None,
    ) -> Tensor:
        kept = x if ctx.needs_input_grad[2] and with_x is None else None
        if kept is not None and values.mode == "column":
            kept = taken(x, values.place, 1).contiguous()  # (N, r); a view would keep all of x
        ctx.values, ctx.with_x, ctx.base = values, with_x, base
        ctx.version = _version(values.weight, base)
        with InWeight(values, trained, base) as replaced:
            y = F.linear(x, values.weight, bias)
        few = values.mode != "random"  # of entries, what they replace is read again
        ctx.memory = StorageWeakRef(replaced.untyped_storage()) if few else None
        ctx.save_for_backward(kept, trained, replaced if few else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kept, trained, replaced = ctx.saved_tensors
        (grad_y,) = grads  # (N, d_out)
        grad_x = grad_bias = grad_trained = None
        if ctx.needs_input_grad[0]:
            if replaced is not None and StorageWeakRef(replaced.untyped_storage()) != ctx.memory:
                replaced = None  # hooks have made something else of it: W is read again, since nothing may be rounded
            with _unmerged(ctx), InWeight(ctx.values, trained, ctx.base, replaced):
                grad_x = grad_y @ ctx.values.weight.to(grad_y.dtype)
        if ctx.needs_input_grad[1]:
            grad_bias = grad_y.sum(0)
        if ctx.needs_input_grad[2]:
            grad_trained = _thin_gradient(ctx, grad_y, kept).to(trained.dtype)
        return grad_x, grad_bias, grad_trained, None, None, None


def _version(weight: Tensor, base: MergeableBase | None) -> int:
    """How often the frozen weight has been changed, merging and unmerging left out."""
    return 0 if weight.is_inference() else weight._version - (base.own_changes if base else 0)


def _unmerged(ctx: Any) -> AbstractContextManager[None]:
    """The weight as the forward pass had it, whatever has been merged since."""
    if _version(ctx.values.weight, ctx.base) != ctx.version:
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
    if ctx.values.mode == "row":
        grad_y = taken(grad_y, ctx.values.place, 1)
        return ctx.with_x(grad_y) if kept is None else grad_y.t() @ kept
    if ctx.values.mode == "column":
        return kept.t() @ grad_y
    return ctx.with_x(grad_y) if kept is None else entries_of_product(ctx.values.place, grad_y, kept)


SAMPLED_SHARE = 0.15
"""Of a matrix's entries, for which a product is computed entry by entry; for more the whole one takes less time."""


def entries_of_product(place: Place, grad_y: Tensor, x: Tensor) -> Tensor:
    """Entries (n,) of the dense gradient g^T x (d_out, d_in), at flat indices; g (N, d_out), x (N, d_in).

    On a CPU and of few of them no other entries are computed. Else the dense gradient exists for a moment.
    """
    shape = (grad_y.shape[1], x.shape[1])
    few = isinstance(place, Tensor) and len(place) <= SAMPLED_SHARE * shape[0] * shape[1]
    kinds = torch._C._functorch  # of a batch of gradients, by `is_grads_batched` or `torch.func.vmap`
    is_one = not (kinds.is_legacy_batchedtensor(grad_y) or kinds.is_functorch_wrapped_tensor(grad_y))
    if few and is_one and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        pattern = csr_pattern(place, shape, x.dtype)
        if pattern is not None:
            return torch.sparse.sampled_addmm(pattern, grad_y.t(), x, beta=0.0).values()
    return taken((grad_y.t() @ x).view(-1), place, 0)


def csr_pattern(flat: Any, shape: tuple[int, int], dtype: torch.dtype) -> Tensor | None:
    """A sparse matrix of zeros at flat indices (n,) int64; None if those are not ascending."""
    if not bool((flat[1:] > flat[:-1]).all()):
        return None
    _announce_csr()
    starts = torch.arange(shape[0] + 1) * shape[1]  # of the matrix's rows, and its end
    ends = torch.searchsorted(flat, starts)
    columns = flat - starts[:-1].repeat_interleave(ends.diff())
    return torch.sparse_csr_tensor(ends, columns, torch.zeros(len(flat), dtype=dtype), shape, check_invariants=False)


@cache
def _announce_csr() -> None:
    """Torch warns once that such tensors are in beta state, which is no news to those who train with them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.eye(1).to_sparse_csr()


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
    y = EntryLinear.apply(x.reshape(-1, x.shape[-1]), weight, bias, delta, indices)
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
