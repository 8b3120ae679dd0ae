"""The products: outputs, gradients, memory, FLOPs, precision, odd shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import gradcheck
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rocoft_bench.tuner.functional import add_update, csr_pattern, entries_of_product, entry_linear, in_place_linear
from rocoft_bench.tuner.in_place import StandingValues
from rocoft_bench.tuner.selection import place_of, read, sample

D_OUT, D_IN = 6, 5
SHAPES = {"row": (2, D_IN), "column": (2, D_OUT), "random": (7,)}
INDICES = {"row": [1, 4], "column": [0, 3], "random": [0, 3, 8, 11, 20, 28, 29]}


def product(mode: str, x: Tensor, weight: Tensor, bias: Tensor | None, trained: Tensor, indices: Tensor) -> Tensor:
    return in_place_linear(x, bias, StandingValues(weight, trained, place_of(indices), mode))


def case(mode: str, *batch: int, bias: bool = True, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Arguments of `product`, seeded; x and trained (and bias) require gradients."""
    torch.manual_seed(0)
    return {
        "mode": mode,
        "x": torch.randn(*batch, D_IN, dtype=dtype, requires_grad=True),
        "weight": torch.randn(D_OUT, D_IN, dtype=dtype),
        "bias": torch.randn(D_OUT, dtype=dtype, requires_grad=True) if bias else None,
        "trained": torch.randn(SHAPES[mode], dtype=dtype, requires_grad=True),
        "indices": torch.tensor(INDICES[mode], dtype=torch.int32),
    }


def changed(weight: Tensor, mode: str, trained: Tensor, indices: Tensor) -> Tensor:
    """The dense weight with the trained values in it, written out with a mask."""
    mask = torch.zeros_like(weight, dtype=torch.bool)
    if mode == "row":
        mask[indices.long(), :] = True
    elif mode == "column":
        mask[:, indices.long()] = True
        trained = trained.t()
    else:
        mask.view(-1)[indices.long()] = True
    return weight.masked_scatter(mask, trained)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3), (0,), (0, 4)], ids=str)
def test_output_is_that_of_the_changed_matrix(mode: str, batch: tuple[int, ...], bias: bool) -> None:
    c = case(mode, *batch, bias=bias)
    before = c["weight"].clone()
    dense = changed(c["weight"], mode, c["trained"], c["indices"])
    expected = F.linear(c["x"], dense, c["bias"])
    torch.testing.assert_close(product(**c), expected)
    delta = c["trained"] - read(c["weight"], c["indices"], mode)
    y = F.linear(c["x"], c["weight"], c["bias"])
    torch.testing.assert_close(add_update(mode, y, c["x"], delta, c["indices"], before.shape), expected)
    if mode == "random":
        torch.testing.assert_close(entry_linear(c["x"], c["weight"], c["bias"], delta, c["indices"]), expected)
    assert torch.equal(c["weight"], before)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [(3,), (2, 3)], ids=str)
@pytest.mark.parametrize("first", [True, False])
def test_gradients(mode: str, batch: tuple[int, ...], bias: bool, first: bool) -> None:
    c = case(mode, *batch, bias=bias)
    indices = torch.arange(len(c["indices"])) if first else c["indices"]  # a slice, or scattered ones

    def f(x: Tensor, trained: Tensor, b: Tensor | None) -> Tensor:
        return product(mode, x, c["weight"], b, trained, indices)

    assert gradcheck(f, (c["x"], c["trained"], c["bias"]))


def test_gradients_of_a_change_of_entries() -> None:
    c = case("random", 2, 3)
    assert gradcheck(
        lambda x, d, b: entry_linear(x, c["weight"], b, d, c["indices"]), (c["x"], c["trained"], c["bias"])
    )


def test_double_backward_is_refused(mode: str) -> None:
    c = case(mode, 3)
    (grad_x,) = torch.autograd.grad(product(**c).square().sum(), c["x"], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad_x.sum().backward()


def test_values_that_change_before_backward_are_an_error(mode: str) -> None:
    c = case(mode, 3)
    y = product(**c)
    with torch.no_grad():
        c["trained"].add_(1)  # a step of the optimizer
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_strided_inputs_and_transposed_weights(mode: str) -> None:
    c = case(mode, 2, 3)
    expected = product(**c)
    grads = torch.autograd.grad(expected.square().sum(), [c["x"], c["trained"]])
    c["x"] = c["x"].detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    c["weight"] = c["weight"].t().contiguous().t()
    y = product(**c)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), [c["x"], c["trained"]]), grads)


def test_output_may_be_modified_in_place(mode: str) -> None:
    c = case(mode, 2, 3)
    expected = torch.autograd.grad((product(**c) + 1).square().sum(), [c["x"], c["trained"]])
    y = product(**c)
    y += 1  # some models (DeBERTa) do this to the output of a linear layer
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), [c["x"], c["trained"]]), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_with_float32_trained_values(mode: str, dtype: torch.dtype) -> None:
    exact, c = case(mode, 4), case(mode, 4)
    c["x"], c["weight"], c["bias"] = (c[k].detach().to(dtype).requires_grad_(k == "x") for k in ("x", "weight", "bias"))
    c["trained"] = c["trained"].detach().float().requires_grad_()
    y = product(**c)
    assert y.dtype == dtype
    y.float().square().sum().backward()
    product(**exact).square().sum().backward()
    assert c["x"].grad.dtype == dtype
    assert c["trained"].grad.dtype == torch.float32
    torch.testing.assert_close(c["trained"].grad.double(), exact["trained"].grad, rtol=0.05, atol=0.3)


def test_autocast(mode: str) -> None:
    c = case(mode, 2, 3, dtype=torch.float32)
    expected = F.linear(c["x"], changed(c["weight"], mode, c["trained"], c["indices"]), c["bias"])
    with torch.autocast("cpu", torch.bfloat16):
        y = product(**c)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert c["trained"].grad.dtype == c["x"].grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert product(**case(mode, 2)).dtype == torch.float64  # as `F.linear` does


def big(mode: str) -> dict[str, Any]:
    """40 tokens, W (48, 64), r = 3 or 9 entries: all sizes differ."""
    shapes = {"row": (3, 64), "column": (3, 48), "random": (9,)}
    return {
        "mode": mode,
        "x": torch.randn(8, 5, 64, requires_grad=True),
        "weight": torch.randn(48, 64),
        "bias": None,
        "trained": torch.randn(shapes[mode], requires_grad=True),
        "indices": torch.arange(0, 18, 2)[: 9 if mode == "random" else 3].int(),
    }


def test_kept_for_backward(mode: str) -> None:
    c = big(mode)
    kept: list[Tensor] = []
    with saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        product(**c)
    own = [t for t in kept if t.untyped_storage().data_ptr() != c["weight"].untyped_storage().data_ptr()]
    largest = max(t.numel() for t in own)
    assert largest == (max(c["trained"].numel(), 40 * 3) if mode == "column" else c["x"].numel())


class Sizes(TorchDispatchMode):
    """The number of values in every tensor that an operation returns without sharing the weight's memory."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight.untyped_storage().data_ptr()
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, tuple | list) else [out]:
            if isinstance(t, Tensor) and t.layout == torch.strided and t.untyped_storage().data_ptr() != self.weight:
                self.seen.add(t.numel())
        return out


@pytest.mark.parametrize("mode", ["row", "column"])
def test_nothing_of_the_size_of_the_matrix_is_made(mode: str) -> None:
    c = big(mode)
    with Sizes(c["weight"]) as sizes:
        product(**c).sum().backward()
    assert c["weight"].numel() not in sizes.seen
    assert max(sizes.seen) == c["x"].numel()


@pytest.mark.parametrize("mode", ["row", "column"])
def test_flops_are_the_frozen_layers_plus_one_thin_product(mode: str) -> None:
    c = big(mode)
    tokens, (d_out, d_in), r = 40, c["weight"].shape, 3
    with FlopCounterMode(display=False) as counter:
        product(**c).sum().backward()
    frozen = 2 * 2 * tokens * d_out * d_in  # output and gradient of the input
    assert counter.get_total_flops() == frozen + 2 * tokens * r * (d_in if mode == "row" else d_out)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 40, 2000])
@pytest.mark.parametrize(("tokens", "is_sorted"), [(0, True), (7, True), (7, False), (300, True)])
def test_entries_of_a_product(tokens: int, count: int, is_sorted: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    g, x = torch.randn(tokens, 48).to(dtype), torch.randn(tokens, 64).to(dtype)
    flat = torch.randperm(48 * 64)[:count]
    flat = flat.sort().values if is_sorted else flat
    expected = (g.double().t() @ x.double()).flatten()[flat].to(dtype)
    found = entries_of_product(flat, g, x)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-4)


@pytest.mark.parametrize("by_vmap", [False, True])
def test_a_batch_of_gradients(mode: str, by_vmap: bool) -> None:
    c = big(mode)
    y, wanted = product(**c), (c["x"], c["trained"])
    gradients = torch.randn(3, *y.shape)

    def of(gradient: Tensor, is_batch: bool = False) -> tuple[Tensor, ...]:
        return torch.autograd.grad(y, wanted, gradient, retain_graph=True, is_grads_batched=is_batch)

    found = torch.func.vmap(of)(gradients) if by_vmap else of(gradients, is_batch=True)
    for batch, each in zip(found, zip(*map(of, gradients), strict=True), strict=True):
        torch.testing.assert_close(batch, torch.stack(each), rtol=1e-4, atol=1e-4)


def test_few_entries_make_no_dense_gradient() -> None:
    c = big("random")
    with Sizes(c["weight"]) as sizes:
        product(**c).sum().backward()
    assert c["weight"].numel() not in sizes.seen


def test_places_in_a_matrix_of_more_entries_than_int32_counts() -> None:
    shape = (2**16 + 3, 2**16)
    flat = sample(shape[0] * shape[1], 50, np.random.default_rng(0))
    assert flat.dtype == torch.int64
    assert int(flat.max()) > 2**31
    pattern = csr_pattern(flat, shape, torch.float32)
    assert pattern is not None
    rows = torch.repeat_interleave(torch.arange(shape[0]), pattern.crow_indices().diff())
    assert (rows * shape[1] + pattern.col_indices()).tolist() == flat.tolist()
