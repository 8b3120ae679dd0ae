"""Inputs that are made again in backward: gradients of the same bits, and no more kept than by a frozen model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import get_peft_model
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from rocoft_bench import RoCoFTConfig
from rocoft_bench.tuner.selection import read, write

WIDTH, D_OUT = 8, 6


class Net(nn.Module):
    """A layer, what makes its input, and normalisations that it may use."""

    def __init__(self, before: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, eps=1e-3)
        self.other_norm = nn.LayerNorm(WIDTH, eps=0.1)
        self.no_bias = nn.LayerNorm(WIDTH, bias=False)
        self.scale = nn.Parameter(torch.randn(WIDTH))
        self.linear = nn.Linear(WIDTH, D_OUT)
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.before(self, x))


def rms_norm(net: Any, u: Tensor) -> Tensor:
    """As written out in LLaMA and its kin."""
    h = u.float() if u.dtype == torch.bfloat16 else u
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    return net.scale * h.to(u.dtype)


MADE_AGAIN: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "gelu": lambda net, u: F.gelu(u),
    "gelu by tanh": lambda net, u: F.gelu(u, approximate="tanh"),
    "silu": lambda net, u: F.silu(u),
    "gated": lambda net, u: F.silu(u) * u.flip(-1),
    "relu": lambda net, u: F.relu(u),
    "layer norm": lambda net, u: net.norm(u),
    "another layer norm": lambda net, u: net.other_norm(net.norm(u)),
    "layer norm without bias": lambda net, u: net.no_bias(u),
    "rms norm": rms_norm,
    "torch's rms norm": lambda net, u: F.rms_norm(u, (WIDTH,), net.scale),
    "dropout": lambda net, u: F.dropout(F.gelu(u), 0.4),
    "dropout in evaluation": lambda net, u: F.dropout(F.gelu(u), 0.4, training=False),
    "a view": lambda net, u: F.gelu(u).view(3, 2, WIDTH),
    "transposed": lambda net, u: F.gelu(u).transpose(0, -2).contiguous(),
    "scaled": lambda net, u: F.gelu(u) * 3.0,
}


def changed_past_a_node(net: Any, u: Tensor) -> Tensor:
    x = F.gelu(u)
    with torch.no_grad():
        x.add_(1)
    return x


KEPT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a matrix product": lambda net, u: u @ torch.outer(net.scale, net.scale),
    "fused dropout": lambda net, u: torch.native_dropout(F.gelu(u), 0.4, True)[0],
    "a sum": lambda net, u: u + u.flip(0),
    "changed in place": lambda net, u: F.gelu(u).add_(1),
    "changed past its node": changed_past_a_node,
    "a layer norm that is no module": lambda net, u: F.layer_norm(u, (WIDTH,), net.scale, eps=0.3),
    "a layer norm without weight": lambda net, u: F.layer_norm(u, (WIDTH,)),
    "a leaf": lambda net, u: u,
}


def adapted(before: Callable[[Any, Tensor], Tensor], dtype: torch.dtype, mode: str = "row", **settings: Any) -> Any:
    torch.manual_seed(0)
    size: dict[str, Any] = {"probability": 0.3} if mode == "random" else {"rank": 2}
    config = RoCoFTConfig(mode=mode, target_modules=["linear"], **size, **settings)
    model = get_peft_model(Net(before).to(dtype), config)
    weight = entries(model).weight
    with torch.no_grad():
        weight.add_(torch.randn_like(weight))
    return model


def entries(model: Any) -> Any:
    return model.base_model.model.linear.rocoft_adapter["default"]


def inputs(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, WIDTH, dtype=dtype, generator=torch.Generator().manual_seed(3)).requires_grad_()


def gradients(model: Any, u: Tensor) -> tuple[Tensor, Tensor]:
    torch.manual_seed(5)
    model(u).square().sum().backward()
    assert u.grad is not None
    return u.grad, entries(model).weight.grad


def dense_gradients(model: Any, u: Tensor) -> tuple[Tensor, Tensor]:
    """Of a plain linear layer that has the trained values in its weight."""
    own, net = entries(model), copy.deepcopy(model.base_model.model)
    net.linear = copy.deepcopy(net.linear.base_layer).requires_grad_()
    with torch.no_grad():
        write(net.linear.weight, own.indices, own.mode, own.weight)
    torch.manual_seed(5)
    net(u).square().sum().backward()
    assert u.grad is not None
    return u.grad, read(net.linear.weight.grad, own.indices, own.mode)


def keeps_input(model: Any, u: Tensor) -> bool:
    """Whether more storages of an input's size are kept for backward than with a frozen layer."""

    def kept(run: Callable[[Tensor], Tensor]) -> int:
        own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
        seen: list[Tensor] = []
        with saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t):
            run(u)
        return len({t.untyped_storage().data_ptr() for t in seen if t.numel() >= u.numel()} - own)

    ours = kept(model)
    with model.disable_adapter():
        return ours > kept(model)


@pytest.mark.parametrize("mode", ["row", "random"])
@pytest.mark.parametrize("name", MADE_AGAIN)
def test_made_again(name: str, mode: str) -> None:
    before = MADE_AGAIN[name]
    model = adapted(before, torch.float64, mode)
    found = gradients(model, inputs())
    torch.testing.assert_close(found, dense_gradients(model, inputs()))
    assert not keeps_input(model, inputs())
    keeping = adapted(before, torch.float64, mode, recompute_inputs=False)
    assert all(map(torch.equal, found, gradients(keeping, inputs())))
    assert keeps_input(keeping, inputs()) == (name != "relu")  # whose output its own node keeps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MADE_AGAIN)
def test_the_same_bits_in_every_precision(name: str, dtype: torch.dtype) -> None:
    found = gradients(adapted(MADE_AGAIN[name], dtype), inputs(dtype))
    kept = gradients(adapted(MADE_AGAIN[name], dtype, recompute_inputs=False), inputs(dtype))
    assert all(map(torch.equal, found, kept))


@pytest.mark.parametrize("name", KEPT)
def test_kept_where_it_cannot_be_made_again(name: str) -> None:
    model = adapted(KEPT[name], torch.float64)
    torch.testing.assert_close(gradients(model, inputs()), dense_gradients(model, inputs()))
    assert keeps_input(model, inputs()) or name in ("a leaf",)


def attention(net: Any, u: Tensor) -> Tensor:
    """Two heads side by side, of probabilities that are written out."""
    heads = u.unflatten(-1, (2, -1)).transpose(1, 2)  # (batch, heads, length, width)
    values = torch.softmax(heads @ heads.transpose(-1, -2), -1) @ heads
    return values.transpose(1, 2).contiguous().flatten(-2)


def fused_attention(net: Any, u: Tensor) -> Tensor:
    heads = u.unflatten(-1, (2, -1)).transpose(1, 2)
    return F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).reshape(u.shape)


@pytest.mark.parametrize("before", [attention, fused_attention])
def test_the_output_of_attention(before: Callable[[Any, Tensor], Tensor]) -> None:
    model = adapted(before, torch.float64)
    torch.testing.assert_close(gradients(model, inputs()), dense_gradients(model, inputs()))
    assert not keeps_input(model, inputs())


def test_heads_that_are_no_heads() -> None:
    """Shapes that fit, in another order."""
    model = adapted(lambda net, u: (u @ u.transpose(-1, -2) @ u).transpose(0, 1).reshape(u.shape), torch.float64)
    torch.testing.assert_close(gradients(model, inputs()), dense_gradients(model, inputs()))


def test_an_input_that_is_changed_afterwards() -> None:
    model, u = adapted(MADE_AGAIN["gelu"], torch.float64), inputs()
    expected = gradients(model, inputs())
    entries(model).weight.grad = None
    x = F.gelu(u)
    y = model.base_model.model.linear(x)
    x.add_(1)
    y.square().sum().backward()
    torch.testing.assert_close((u.grad, entries(model).weight.grad), expected)


def test_what_it_is_made_from_must_not_change() -> None:
    model, u = adapted(MADE_AGAIN["gelu"], torch.float64), inputs()
    h = u * 1
    loss = model(h).sum()
    h.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_backward_twice_and_double_backward() -> None:
    model, u = adapted(MADE_AGAIN["layer norm"], torch.float64), inputs()
    loss = model(u).square().sum()
    loss.backward(retain_graph=True)
    once = entries(model).weight.grad.clone()
    loss.backward()
    torch.testing.assert_close(entries(model).weight.grad, 2 * once)
    (grad,) = torch.autograd.grad(model(u).square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def test_backward_under_autocast() -> None:
    model, u = adapted(MADE_AGAIN["layer norm"], torch.float32), inputs(torch.float32)
    expected = gradients(adapted(MADE_AGAIN["layer norm"], torch.float32), inputs(torch.float32))
    loss = model(u).square().sum()
    with torch.autocast("cpu", torch.bfloat16):
        loss.backward()
    assert torch.equal(entries(model).weight.grad, expected[1])


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("inside", ["both", "the layer", "what is before it"])
@pytest.mark.parametrize("before", [MADE_AGAIN["layer norm"], MADE_AGAIN["gated"], attention, fused_attention])
def test_gradient_checkpointing(before: Callable[[Any, Tensor], Tensor], inside: str, use_reentrant: bool) -> None:
    model, u = adapted(before, torch.float64), inputs()
    expected, net = gradients(adapted(before, torch.float64), inputs()), model.base_model.model
    run = {
        "both": lambda u: checkpoint(net, u, use_reentrant=use_reentrant),
        "the layer": lambda u: checkpoint(net.linear, before(net, u), use_reentrant=use_reentrant),
        "what is before it": lambda u: net.linear(checkpoint(before, net, u, use_reentrant=use_reentrant)),
    }[inside]
    run(u).square().sum().backward()
    torch.testing.assert_close((u.grad, entries(model).weight.grad), expected)


def test_tensors_that_are_offloaded() -> None:
    model, u = adapted(MADE_AGAIN["layer norm"], torch.float64), inputs()
    expected = gradients(adapted(MADE_AGAIN["layer norm"], torch.float64), inputs())
    with save_on_cpu():
        loss = model(u).square().sum()
    loss.backward()
    assert all(map(torch.equal, (u.grad, entries(model).weight.grad), expected))


def test_tensors_that_are_given_back_only_once() -> None:
    """As some libraries that offload do."""
    model, u = adapted(MADE_AGAIN["layer norm"], torch.float64), inputs()
    expected, stored = gradients(adapted(MADE_AGAIN["layer norm"], torch.float64), inputs()), {}

    def pack(tensor: Tensor) -> int:
        stored[len(stored)] = tensor
        return len(stored) - 1

    with saved_tensors_hooks(pack, lambda number: stored.pop(number) if number in stored else pytest.fail("twice")):
        loss = model(u).square().sum()
    loss.backward()
    assert all(map(torch.equal, (u.grad, entries(model).weight.grad), expected))


def test_copies_know_the_normalisations() -> None:
    model = copy.deepcopy(adapted(MADE_AGAIN["another layer norm"], torch.float64))
    assert not keeps_input(model, inputs())
    with torch.no_grad():
        entries(model).weight.mul_(2)
    torch.testing.assert_close(gradients(model, inputs()), dense_gradients(model, inputs()))
