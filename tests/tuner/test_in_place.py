"""Trained values stand in the weight for the moment of a product: nobody else ever sees them there."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from peft import get_peft_model
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from rocoft_bench import RoCoFTConfig
from rocoft_bench.tuner import standing_values, whole_pass
from rocoft_bench.tuner.selection import read, write

D_IN, D_OUT = 5, 6
SIZES = {"row": {"rank": 2}, "column": {"rank": 2}, "random": {"probability": 0.3}}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D_IN, D_OUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def adapted(mode: str, net: nn.Module | None = None, **settings: Any) -> Any:
    """A float64 layer with an adapter whose values have moved."""
    torch.manual_seed(0)
    config = RoCoFTConfig(mode=mode, target_modules=["linear"], **SIZES[mode], **settings)
    model = get_peft_model((net or Net()).double(), config)
    move(model)
    return model


def move(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))


def layer_of(model: Any) -> Any:
    return model.base_model.model.linear


def dense(model: Any, adapter: str = "default") -> Tensor:
    """The weight with the adapter's values in it, as a tensor of its own."""
    layer = layer_of(model)
    entries, weight = layer.rocoft_adapter[adapter], layer.base_layer.weight.detach().clone()
    write(weight, entries.indices, entries.mode, entries.weight.detach())
    return weight


def dense_gradients(weight: Tensor, model: Any, x: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Of x and of the trained values, of a layer that has this weight."""
    weight, x = weight.requires_grad_(), x.detach().requires_grad_()
    loss(F.linear(x, weight, layer_of(model).base_layer.bias)).backward()
    entries = layer_of(model).rocoft_adapter["default"]
    assert x.grad is not None
    assert weight.grad is not None
    return x.grad, read(weight.grad, entries.indices, entries.mode)


def squares(y: Tensor) -> Tensor:
    return y.square().sum()


def inputs() -> Tensor:
    return torch.randn(2, 3, D_IN, dtype=torch.float64, requires_grad=True)


def swap_averages_in_and_out(model: Any) -> None:
    weight = layer_of(model).rocoft_adapter["default"].weight
    kept = weight.data.clone()
    weight.data.copy_(torch.zeros_like(weight))
    with torch.no_grad():
        model(inputs())
    weight.data.copy_(kept)


def run_disabled(model: Any) -> None:
    with model.disable_adapter():
        model(inputs())


def run_another(model: Any) -> None:
    model.set_adapter("other")
    model(inputs())
    model.set_adapter("default")


def fail_in_a_product(model: Any) -> None:
    with pytest.raises(RuntimeError):
        model(torch.randn(2, D_IN + 1, dtype=torch.float64))


def merge(model: Any) -> None:
    model.merge_adapter()


def merge_and_unmerge(model: Any) -> None:
    model.merge_adapter()
    model.unmerge_adapter()


def merge_another(model: Any) -> None:
    model.set_adapter("other")
    model.merge_adapter()
    model.set_adapter("default")


BETWEEN: list[Callable[[Any], Any]] = [
    merge,
    merge_and_unmerge,
    merge_another,
    lambda model: None,
    run_disabled,
    run_another,
    lambda model: model(inputs()),
    lambda model: model(inputs()).sum().backward(),
    swap_averages_in_and_out,
    fail_in_a_product,
    lambda model: model.state_dict(),
    copy.deepcopy,
    pickle.dumps,
]


@pytest.mark.parametrize("between", BETWEEN)
def test_whatever_happens_before_backward_changes_nothing(mode: str, between: Callable[[Any], Any]) -> None:
    model = adapted(mode)
    model.add_adapter("other", RoCoFTConfig(mode="row", selection="random", rank=3, target_modules=["linear"]))
    model.set_adapter("other")
    move(model)
    model.set_adapter("default")
    frozen, x = layer_of(model).base_layer.weight.clone(), inputs()
    expected = dense_gradients(dense(model), model, x, squares)
    loss = squares(model(x))
    between(model)
    model.zero_grad()
    loss.backward()
    trained = layer_of(model).rocoft_adapter["default"].weight
    torch.testing.assert_close((x.grad, trained.grad), expected)
    if layer_of(model).merged:
        model.unmerge_adapter()
    assert torch.equal(layer_of(model).base_layer.weight, frozen)


def test_a_frozen_weight_that_is_changed_before_backward_is_an_error(mode: str) -> None:
    model = adapted(mode)
    loss = model(inputs()).sum()
    with torch.no_grad():
        layer_of(model).base_layer.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_graph_without_adapter_does_not_survive_merging(mode: str) -> None:
    model = adapted(mode)
    with model.disable_adapter():
        loss = model(inputs()).sum()
    model.merge_adapter()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Watched(nn.Module):
    """A model whose `generate` is what a test makes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(D_IN, D_OUT)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)

    def generate(self, during: Callable[[], Any]) -> Any:
        return during()


def test_values_stand_while_a_model_generates(mode: str) -> None:
    model, x = adapted(mode, Watched()), inputs().detach()
    layer, frozen = layer_of(model), layer_of(model).base_layer.weight.clone()
    expected, bias = dense(model), layer_of(model).base_layer.bias.detach()

    def during() -> None:
        for _ in range(2):
            with torch.no_grad(), Operations() as operations:
                y = model(x)
            assert operations.count == 1  # the product
            assert torch.equal(layer.base_layer.weight, expected)
            torch.testing.assert_close(y, F.linear(x, expected, bias))

    model.base_model.generate(during)
    assert torch.equal(layer.base_layer.weight, frozen)
    with pytest.raises(ZeroDivisionError):
        model.base_model.generate(lambda: 1 / 0)
    assert torch.equal(layer.base_layer.weight, frozen)


def test_what_needs_the_frozen_weight_while_a_model_generates(mode: str) -> None:
    model, x = adapted(mode, Watched()), inputs()
    layer, frozen, expected = layer_of(model), layer_of(model).base_layer.weight.clone(), dense(model)
    gradients = dense_gradients(dense(model), model, x, squares)

    def disabled() -> None:
        with torch.no_grad(), model.disable_adapter():
            torch.testing.assert_close(model(x), F.linear(x, frozen, layer.base_layer.bias))
        with torch.no_grad():
            torch.testing.assert_close(model(x), F.linear(x, expected, layer.base_layer.bias))

    def trained() -> None:
        squares(model(x)).backward()
        torch.testing.assert_close((x.grad, layer.rocoft_adapter["default"].weight.grad), gradients)

    for during in (disabled, trained):
        model.base_model.generate(during)
        assert torch.equal(layer.base_layer.weight, frozen)


def test_threads_that_generate_with_one_model(mode: str) -> None:
    model, x = adapted(mode, Watched()), torch.randn(64, D_IN, dtype=torch.float64)
    frozen = layer_of(model).base_layer.weight.clone()
    expected, wrong = F.linear(x, dense(model), layer_of(model).base_layer.bias), []

    def check() -> None:
        with torch.no_grad():
            wrong.extend(() if torch.allclose(model(x), expected) else (1,))

    def serve() -> None:
        for _ in range(50):
            model.base_model.generate(check)
            check()

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert torch.equal(layer_of(model).base_layer.weight, frozen)


def test_both_of_two_forward_passes(mode: str) -> None:
    model, x, z = adapted(mode), inputs(), inputs()
    weight = dense(model).requires_grad_()
    bias = layer_of(model).base_layer.bias
    (squares(F.linear(x, weight, bias)) * F.linear(z, weight, bias).sum()).backward()
    (squares(model(x)) * model(z).sum()).backward()
    entries = layer_of(model).rocoft_adapter["default"]
    torch.testing.assert_close(entries.weight.grad, read(weight.grad, entries.indices, mode))


def test_an_optimizer_that_writes_past_autograd_is_seen(mode: str) -> None:
    model, x = adapted(mode), inputs()
    model(x).sum().backward()
    layer_of(model).rocoft_adapter["default"].weight.data.mul_(3)
    torch.testing.assert_close(model(x), F.linear(x, dense(model), layer_of(model).base_layer.bias))


def test_a_base_whose_weight_is_changed_afterwards(mode: str) -> None:
    model, x = adapted(mode), inputs()
    model(x).sum().backward()
    base = layer_of(model).base_layer
    base.weight.data.mul_(2)
    torch.testing.assert_close(model(x), F.linear(x, dense(model), base.bias))
    model.load_state_dict({k: v + 1 if "base_layer" in k else v for k, v in model.state_dict().items()})
    torch.testing.assert_close(model(x), F.linear(x, dense(model), base.bias))
    with model.disable_adapter():
        torch.testing.assert_close(model(x), F.linear(x, base.weight, base.bias))


def adapt_anew(model: Any) -> None:
    model.add_adapter("new", model.peft_config["default"])
    model.delete_adapter("default")
    model.add_adapter("default", model.peft_config["new"])
    model.set_adapter("default")
    move(model)


def train_other_indices(model: Any) -> None:
    indices = layer_of(model).rocoft_adapter["default"].indices
    indices.copy_(torch.arange(1, len(indices) + 1))


def replace_indices_twice(model: Any) -> None:
    """Of which the last ones may have the address of the first."""
    entries = layer_of(model).rocoft_adapter["default"]
    ((name, indices),) = entries.named_buffers()
    first, count = id(indices), len(indices)
    del indices
    for attempt in range(20):
        setattr(entries, name, None)
        setattr(entries, name, torch.arange(1 + attempt % 2, 1 + attempt % 2 + count, dtype=torch.int32))
        if id(entries.indices) == first and attempt % 2:
            break


def give_other_tensors(model: Any) -> None:
    layer = layer_of(model)
    layer.base_layer.weight = nn.Parameter(torch.randn_like(layer.base_layer.weight), requires_grad=False)
    layer.rocoft_adapter["default"].weight.data = torch.randn_like(layer.rocoft_adapter["default"].weight)


def give_views_of_the_same_memory(model: Any) -> None:
    base = layer_of(model).base_layer
    base.weight.data = base.weight.data.as_strided(base.weight.shape, (1, D_OUT))


def give_an_alias(model: Any) -> None:
    base = layer_of(model).base_layer
    base.weight = nn.Parameter(base.weight.data, requires_grad=False)


CHANGES: list[Callable[[Any], Any]] = [
    adapt_anew,
    train_other_indices,
    replace_indices_twice,
    give_other_tensors,
    give_views_of_the_same_memory,
    give_an_alias,
    lambda model: model.float(),
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_between_two_passes_is_seen_by_the_second(mode: str, change: Callable[[Any], Any]) -> None:
    model, x = adapted(mode), inputs()
    model(x).sum().backward()
    with torch.no_grad(), standing_values(model):
        model(x)
    change(model)
    layer = layer_of(model)
    frozen, weight = layer.base_layer.weight.detach().clone(), dense(model)
    x = inputs().to(weight.dtype).detach().requires_grad_()
    model.zero_grad()
    y = model(x)
    torch.testing.assert_close(y, F.linear(x, weight, layer.base_layer.bias))
    squares(y).backward()
    torch.testing.assert_close(
        (x.grad, layer.rocoft_adapter["default"].weight.grad), dense_gradients(weight, model, x, squares)
    )
    with torch.no_grad(), standing_values(model):
        torch.testing.assert_close(model(x), y)
    assert torch.equal(layer.base_layer.weight, frozen)


def test_a_changed_alias_of_the_frozen_weight_is_an_error(mode: str) -> None:
    model = adapted(mode)
    base = layer_of(model).base_layer
    base.weight = nn.Parameter(base.weight.data, requires_grad=False)
    model(inputs())
    give_an_alias(model)
    loss = model(inputs()).sum()
    with torch.no_grad():
        base.weight.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def give_other_tensors_and_disable(model: Any) -> None:
    give_other_tensors(model)
    with model.disable_adapter():
        model(inputs())


@pytest.mark.parametrize(
    "leave", [lambda model: model.float(), lambda model: model.to("meta"), give_other_tensors_and_disable]
)
def test_memory_that_a_weight_has_left_is_free(mode: str, leave: Callable[[Any], Any]) -> None:
    model = adapted(mode)
    model(inputs()).sum().backward()
    memory = StorageWeakRef(layer_of(model).base_layer.weight.untyped_storage())
    leave(model)
    gc.collect()
    assert memory.expired()


def test_memory_of_a_deleted_adapter_is_free(mode: str) -> None:
    model = adapted(mode)
    model(inputs()).sum().backward()
    values = weakref.ref(layer_of(model).rocoft_adapter["default"].weight)
    model.delete_adapter("default")
    gc.collect()
    assert values() is None


def test_values_that_others_have_computed_are_not_kept(mode: str) -> None:
    model = adapted(mode)
    values = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    computed = {name: value.requires_grad_() * 2 for name, value in values.items()}
    refs = [weakref.ref(value) for value in computed.values()]
    torch.func.functional_call(model, computed, (inputs(),))
    del computed
    gc.collect()
    assert all(ref() is None for ref in refs)


def test_hooks_that_round_what_is_saved_leave_the_frozen_weight(mode: str) -> None:
    model = adapted(mode)
    frozen = layer_of(model).base_layer.weight.clone()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.to(torch.bfloat16), lambda t: t.to(torch.float64)):
        loss = model(inputs()).sum()
    loss.backward()
    assert torch.equal(layer_of(model).base_layer.weight, frozen)


class Tied(Net):
    """Another layer has the same weight."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(D_IN, D_OUT)
        self.other.weight = self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.other(x)


def test_a_tied_layer_keeps_the_frozen_weight(mode: str) -> None:
    model, x = adapted(mode, Tied()), inputs()
    expected = F.linear(x, dense(model), layer_of(model).base_layer.bias) * model.base_model.model.other(x)
    torch.testing.assert_close(model(x), expected)


class Headed(Net):
    """A head that is tied to the layer only after the adapter is made; `generate` is a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(D_IN, D_OUT, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.head(x)

    def generate(self, x: Tensor) -> Tensor:
        return self(x)


@pytest.mark.parametrize("tie", ["parameter", "memory"])
def test_a_head_that_is_tied_later_keeps_the_frozen_weight(mode: str, tie: str) -> None:
    model, x = adapted(mode, Headed()), inputs().detach()
    model(x)
    head, weight = model.base_model.model.head, layer_of(model).base_layer.weight
    if tie == "parameter":
        head.weight = weight
    else:
        head.weight.data = weight.data
    expected = F.linear(x, dense(model), layer_of(model).base_layer.bias) * head(x)
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(model.base_model.generate(x), expected)
    model.merge_adapter()
    torch.testing.assert_close(model(x), expected)
    model.unmerge_adapter()
    assert layer_of(model).base_layer.weight is weight


class Reading(Net):
    """A model that computes with a layer's weight itself, as Bloom and DETR do."""

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * F.linear(x, self.linear.weight)


def test_a_model_that_reads_the_weight_in_a_pass_sees_the_frozen_one(mode: str) -> None:
    model, x = adapted(mode, Reading()), inputs()
    z = x.detach().clone().requires_grad_()
    frozen, bias = layer_of(model).base_layer.weight, layer_of(model).base_layer.bias
    expected = F.linear(z, dense(model), bias) * F.linear(z, frozen)
    y = model(x)
    y.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close((y, x.grad), (expected, z.grad))


def test_an_interrupt_while_values_are_put_in(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, put_in = adapted(mode), whole_pass.put_in
    frozen = layer_of(model).base_layer.weight.clone()

    def interrupted(*args: Any) -> None:
        put_in(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(whole_pass, "put_in", interrupted)
    with pytest.raises(KeyboardInterrupt), standing_values(model):
        pass
    assert torch.equal(layer_of(model).base_layer.weight, frozen)


@pytest.mark.parametrize("how", ["grad", "vmap", "jvp", "forward mode", "jacobian"])
def test_other_ways_to_differentiate(mode: str, how: str) -> None:
    model, x = adapted(mode), inputs().detach()
    weight, bias, tangent = dense(model), layer_of(model).base_layer.bias.detach(), torch.randn_like(x)

    def reference(x: Tensor) -> Tensor:
        return F.linear(x, weight, bias)

    def through(f: Callable[[Tensor], Tensor]) -> Any:
        if how == "grad":
            return torch.func.grad(lambda x: squares(f(x)))(x)
        if how == "vmap":
            return torch.func.vmap(f)(x)
        if how == "jvp":
            return torch.func.jvp(f, (x,), (tangent,))
        if how == "jacobian":
            return torch.autograd.functional.jacobian(f, x, vectorize=True)
        with torch.autograd.forward_ad.dual_level():
            y = f(torch.autograd.forward_ad.make_dual(x, tangent))
            return torch.autograd.forward_ad.unpack_dual(y)[:2]

    torch.testing.assert_close(through(model), through(reference))


def test_per_example_gradients_of_torch_func(mode: str) -> None:
    model, x = adapted(mode), inputs().detach()[0]
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    names = list(trained)

    def loss(values: dict[str, Tensor], row: Tensor) -> Tensor:
        return squares(torch.func.functional_call(model, values, (row[None],)))

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(trained, x)[names[0]]
    expected = torch.stack([dense_gradients(dense(model), model, row[None], squares)[1] for row in x])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("made_in", [True, False])
def test_inference_mode(mode: str, made_in: bool) -> None:
    with torch.inference_mode(made_in):
        model = adapted(mode)
    x = inputs().detach()
    expected = F.linear(x, dense(model), layer_of(model).base_layer.bias)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected)
    if not made_in:
        torch.testing.assert_close(model(x), expected)


def test_an_adapter_made_in_inference_mode_on_a_plain_model(mode: str) -> None:
    net, x = Net().double(), inputs().detach()
    with torch.inference_mode():
        model = adapted(mode, net)
        torch.testing.assert_close(model(x), F.linear(x, dense(model), net.linear.base_layer.bias))


def test_weights_that_other_processes_see_are_left_alone(mode: str) -> None:
    model = adapted(mode)
    layer_of(model).base_layer.share_memory()
    seen: list[bool] = []
    frozen, x = layer_of(model).base_layer.weight.clone(), inputs()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(torch.equal(layer_of(model).base_layer.weight, frozen))
            return func(*args, **(kwargs or {}))

    expected = F.linear(x, dense(model), layer_of(model).base_layer.bias)
    with Watch():
        y = model(x)
        y.sum().backward()
    torch.testing.assert_close(y, expected)
    assert all(seen)


def test_threads_that_share_a_model(mode: str) -> None:
    model, x = adapted(mode), torch.randn(64, D_IN, dtype=torch.float64)
    frozen = layer_of(model).base_layer.weight.clone()
    expected, wrong = F.linear(x, dense(model), layer_of(model).base_layer.bias), []

    def serve() -> None:
        for _ in range(200):
            with torch.no_grad():
                if not torch.allclose(model(x), expected):
                    wrong.append(1)

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert torch.equal(layer_of(model).base_layer.weight, frozen)


class Operations(TorchDispatchMode):
    """Counts operations that compute or copy; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view and "empty" not in str(func) and "detach" not in str(func)
        return func(*args, **(kwargs or {}))


class Two(nn.Module):
    """Two targeted layers, and what happens between them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.linear_2 = nn.Linear(D_IN, D_OUT), nn.Linear(D_OUT, D_IN)
        self.between: Callable[[], Any] = lambda: None

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        self.between()
        return self.linear_2(h)


def two_adapted(mode: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    targets = ["linear", "linear_2"]
    model = get_peft_model(Two().double(), RoCoFTConfig(mode=mode, target_modules=targets, **SIZES[mode], **settings))
    move(model)
    return model


def dense_two(model: Any) -> Two:
    """The plain model with the trained values in its weights."""
    dense_model = Two().double()
    for name in ("linear", "linear_2"):
        layer, own = getattr(model.base_model.model, name), getattr(dense_model, name)
        entries = layer.rocoft_adapter["default"]
        with torch.no_grad():
            own.weight.copy_(layer.base_layer.weight)
            own.bias.copy_(layer.base_layer.bias)
            write(own.weight, entries.indices, entries.mode, entries.weight)
    return dense_model


def fail_once(model: Any) -> None:
    model.base_model.model.between = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        model(inputs())


def move_weights(model: Any) -> None:
    for layer in (model.base_model.model.linear, model.base_model.model.linear_2):
        layer.base_layer.weight.data = layer.base_layer.weight.data.clone()


def run_in_a_thread(model: Any) -> None:
    thread = threading.Thread(target=lambda: model.base_model.model.linear(inputs()).sum().backward())
    thread.start()
    thread.join()
    model.zero_grad()


DURING: list[Callable[[Any], Any]] = [
    fail_once,
    run_disabled,
    merge_and_unmerge,
    move_weights,
    run_in_a_thread,
    lambda model: model(inputs()),
    lambda model: torch.no_grad()(model)(inputs()),
]


@pytest.mark.parametrize("during", DURING)
def test_whatever_happens_during_a_pass_changes_nothing(mode: str, during: Callable[[Any], Any]) -> None:
    model = two_adapted(mode)
    two, reference = model.base_model.model, dense_two(model)
    frozen, x = [layer.base_layer.weight.clone() for layer in (two.linear, two.linear_2)], inputs()
    z = x.detach().clone().requires_grad_()
    squares(reference(z)).backward()

    def once() -> None:
        two.between = lambda: None
        during(model)

    two.between = once
    y = model(x)
    assert all(map(torch.equal, (two.linear.base_layer.weight, two.linear_2.base_layer.weight), frozen))
    squares(y).backward()
    torch.testing.assert_close((y, x.grad), (reference(z), z.grad))
    for name in ("linear", "linear_2"):
        entries = getattr(two, name).rocoft_adapter["default"]
        dense_gradient = getattr(reference, name).weight.grad
        torch.testing.assert_close(entries.weight.grad, read(dense_gradient, entries.indices, mode))
    assert all(map(torch.equal, (two.linear.base_layer.weight, two.linear_2.base_layer.weight), frozen))


def test_weights_that_move_during_a_pass_of_values_that_are_no_numbers(mode: str) -> None:
    model = two_adapted(mode)
    layer = model.base_model.model.linear
    frozen = layer.base_layer.weight.clone()
    with torch.no_grad():
        layer.rocoft_adapter["default"].weight.fill_(torch.nan)
    model.base_model.model.between = lambda: move_weights(model)
    model(inputs())
    assert torch.equal(layer.base_layer.weight, frozen)


def test_who_walks_through_the_weights_during_a_pass_sees_frozen_ones(mode: str) -> None:
    model, seen = two_adapted(mode), {}
    frozen = {name: parameter.clone() for name, parameter in model.named_parameters()}
    model.base_model.model.between = lambda: seen.update((n, p.clone()) for n, p in model.named_parameters())
    x = inputs()
    torch.testing.assert_close(model(x), dense_two(model)(x))
    assert seen.keys() == frozen.keys()
    assert all(torch.equal(seen[name], frozen[name]) for name in frozen)


@pytest.mark.parametrize("standing", [False, True])
def test_trained_values_that_change_during_a_pass_are_seen(mode: str, standing: bool) -> None:
    model, x = two_adapted(mode), inputs()
    frozen = model.base_model.model.linear_2.base_layer.weight.clone()
    model.base_model.model.between = lambda: move(model.base_model.model.linear_2)
    with torch.no_grad(), standing_values(model) if standing else nullcontext():
        h = dense_two(model).linear(x)
        y = model(x)
        torch.testing.assert_close(y, dense_two(model).linear_2(h))
    assert torch.equal(model.base_model.model.linear_2.base_layer.weight, frozen)


@pytest.mark.parametrize(
    "taken", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model)), nn.Module.state_dict]
)
def test_copies_that_are_made_during_a_pass(mode: str, taken: Callable[[Any], Any]) -> None:
    model, found = two_adapted(mode), []
    two, expected = model.base_model.model, {name: value.clone() for name, value in model.state_dict().items()}

    def once() -> None:
        two.between = None  # no copy of this function
        found.append(taken(model))

    two.between = once
    model(inputs())
    copied = found[0] if isinstance(found[0], dict) else found[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in copied.items())


@pytest.mark.parametrize(
    "watch",
    [
        lambda two, look: two.register_forward_hook(lambda *args: look()),
        lambda two, look: two.linear.register_forward_hook(lambda *args: look()),
        lambda two, look: two.linear_2.register_forward_pre_hook(lambda *args: look()),
        lambda two, look: setattr(two.linear, "forward", lambda x, f=two.linear.forward: (f(x), look())[0]),
    ],
)
def test_hooks_see_frozen_weights(mode: str, watch: Callable[[Any, Callable[[], None]], Any]) -> None:
    model = two_adapted(mode)
    two, seen = model.base_model.model, []
    layers = (two.linear, two.linear_2)
    frozen = [layer.base_layer.weight.clone() for layer in layers]
    watch(two, lambda: seen.extend(map(torch.equal, [layer.base_layer.weight for layer in layers], frozen)))
    x = inputs()
    torch.testing.assert_close(model(x), dense_two(model)(x))
    assert seen
    assert all(seen)


def compiled_inside(model: Any) -> Any:
    model.base_model.model.linear_2.compile(backend="aot_eager")
    return model


@pytest.mark.parametrize("compiled", [partial(torch.compile, backend="aot_eager"), compiled_inside])
def test_compiled_as_a_whole_and_in_part(mode: str, compiled: Callable[[Any], Any]) -> None:
    torch._dynamo.reset()
    model, x = two_adapted(mode), inputs()
    reference, z = dense_two(model), x.detach().clone().requires_grad_()
    squares(reference(z)).backward()
    y = compiled(model)(x)
    squares(y).backward()
    torch.testing.assert_close((y, x.grad), (reference(z), z.grad))


@pytest.mark.parametrize(("mode", "thin"), [("row", 1), ("column", 2)])
def test_operations_beside_those_of_a_frozen_model(mode: str, thin: int) -> None:
    """For the whole model the frozen values are kept, replaced and put back in forward. In backward each layer's are
    replaced and put back; there is a thin product, of columns also a copy of x[:, S], and the gradient is added to that
    of the pass before."""
    counts = []
    for model in (Two().double().requires_grad_(False), two_adapted(mode, recompute_inputs=False)):
        x = inputs()
        model(x).sum().backward()
        with Operations() as operations:
            model(x).sum().backward()
        counts.append(operations.count)
    assert counts[1] - counts[0] == 3 + 2 * (2 + thin + 1)
