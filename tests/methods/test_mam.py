"""MAM Adapter: the parallel adapter against a direct computation, and the paper's counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rocoft_bench import methods
from rocoft_bench.errors import UserError
from rocoft_bench.methods.modules.bottleneck import ParallelAdapter, add_parallel_adapters
from rocoft_bench.models import paper_model
from rocoft_bench.models.shape_reading import shapes_of

from .conftest import KINDS

BOTTLENECK, SCALE = 4, 3.0


def adapters(model: nn.Module) -> list[ParallelAdapter]:
    return [module for module in model.modules() if isinstance(module, ParallelAdapter)]


def adapted(model: Any) -> Any:
    """With adapters that are not zero."""
    model.requires_grad_(False)
    add_parallel_adapters(model, BOTTLENECK, SCALE)
    for adapter in adapters(model):
        for parameter in (*adapter.up.parameters(), adapter.down.bias):
            nn.init.normal_(parameter)
    return model


def test_against_a_direct_computation_on_a_roberta_layer(make_model: Callable[..., Any]) -> None:
    """LayerNorm(x + dense(gelu(dense x)) + s (W_up ReLU(W_down x + b_d) + b_u)), forward and gradients."""
    layer = adapted(make_model("roberta", "sequence_classification")).roberta.encoder.layer[0]
    x = torch.randn(2, 5, 16, requires_grad=True)
    adapter = layer.output.dense
    w_down, b_down, w_up, b_up = parameters = [*adapter.down.parameters(), *adapter.up.parameters()]
    first, last, norm = layer.intermediate.dense, adapter.base_layer, layer.output.LayerNorm

    ffn = nn.functional.gelu(x @ first.weight.T + first.bias) @ last.weight.T + last.bias
    beside = torch.clamp(x @ w_down.T + b_down, min=0) @ w_up.T + b_up
    expected = norm(x + ffn + SCALE * beside)
    found = layer.feed_forward_chunk(x)

    torch.testing.assert_close(found, expected)
    weights, inputs = torch.randn(found.shape), [x, *parameters]
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), inputs), torch.autograd.grad((expected * weights).sum(), inputs)
    )


@pytest.mark.parametrize("model_type", KINDS)
def test_each_adapter_reads_its_own_feed_forward_network(
    model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """What it adds is s (W_up ReLU(W_down x + b_d) + b_u) of the very tensor that goes into that network."""
    kind = KINDS[model_type][0]
    model = adapted(make_model(model_type, kind))
    firsts = [
        m for n, m in model.named_modules() if n.endswith(("intermediate.dense", "fc1", "up_proj", "fc_in", "h_to_4h"))
    ]
    seen: dict[int, Tensor] = {}
    for number, first in enumerate(firsts):
        first.register_forward_pre_hook(lambda module, x, number=number: seen.__setitem__(number, x[0]))
    for number, adapter in enumerate(adapters(model)):

        def check(module: Any, h: tuple[Tensor], y: Tensor, number: int = number) -> None:
            added = SCALE * module.up(torch.relu(module.down(seen[number])))
            torch.testing.assert_close(y - module.base_layer(h[0]), added, atol=1e-5, rtol=1e-4)
            seen.pop(number)

        adapter.register_forward_hook(check)
    model(**make_batch(kind))
    assert len(firsts) == len(adapters(model)) == (4 if model_type == "bart" else 2)
    assert not seen


@pytest.mark.parametrize("model_type", KINDS)
def test_nothing_is_added_at_first_and_no_activation_is_kept(
    model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    kind = KINDS[model_type][0]
    model, plain = make_model(model_type, kind), make_model(model_type, kind)
    add_parallel_adapters(model, BOTTLENECK, SCALE)
    assert torch.equal(model(**make_batch(kind)).loss, plain(**make_batch(kind)).loss)
    assert all(adapter._ffn_input is None for adapter in adapters(model))


@pytest.mark.parametrize("model_type", KINDS)
def test_gradient_checkpointing_gives_the_same_gradients_and_keeps_no_activation(
    model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    kind = KINDS[model_type][0]
    model, batch = adapted(make_model(model_type, kind)).train(), make_batch(kind)
    model(**batch).loss.backward()
    plain = [
        p.grad.clone() for adapter in adapters(model) for p in (*adapter.down.parameters(), *adapter.up.parameters())
    ]
    model.zero_grad()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model(**batch).loss.backward()
    again = [p.grad for adapter in adapters(model) for p in (*adapter.down.parameters(), *adapter.up.parameters())]
    torch.testing.assert_close(again, plain)
    assert all(adapter._ffn_input is None for adapter in adapters(model))


@pytest.mark.parametrize("model_type", KINDS)
def test_prefix_and_adapter_are_both_trained(
    model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    kind = KINDS[model_type][0]
    method = methods.resolve({"name": "mam", "num_virtual_tokens": 3, "bottleneck": BOTTLENECK})
    model = method.apply(make_model(model_type, kind), kind, seed=0)
    for adapter in adapters(model):
        nn.init.normal_(adapter.up.weight)  # W_down has no gradient where W_up is zero
    model(**make_batch(kind)).loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    for part in (".prefix.key", ".prefix.value", ".down.weight", ".down.bias", ".up.weight", ".up.bias"):
        grads = [grad for name, grad in trained.items() if name.endswith(part)]
        assert len(grads) >= 2
        assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_half_precision(make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    batch = make_batch("causal_lm")
    expected = adapted(make_model("llama", "causal_lm"))
    half = adapted(make_model("llama", "causal_lm").to(torch.bfloat16))
    for adapter, source in zip(adapters(half), adapters(expected), strict=True):
        assert adapter.down.weight.dtype == torch.float32
        adapter.down.load_state_dict(source.down.state_dict())
        adapter.up.load_state_dict(source.up.state_dict())
    logits = expected(**batch).logits
    assert (half(**batch).logits.float() - logits).norm() / logits.norm() < 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (expected(**batch).logits.float() - logits).norm() / logits.norm() < 0.05


@pytest.mark.parametrize(
    ("alias", "settings", "expected"),
    [
        ("roberta-base", {}, 1_189_248),
        ("roberta-large", {}, 3_171_072),
        ("roberta-base", {"num_virtual_tokens": 16, "bottleneck": 16}, 599_232),
    ],
)
def test_counts(alias: str, settings: dict[str, Any], expected: int) -> None:
    shapes = shapes_of(paper_model(alias, "AutoModelForSequenceClassification"), has_head=True)
    assert methods.resolve({"name": "mam", **settings}).adapter_parameters(shapes) == expected
    assert shapes.head == {"roberta-base": 592_130, "roberta-large": 1_051_650}[alias]


def test_what_cannot_be_served() -> None:
    with pytest.raises(UserError, match="caps the scores"):
        methods.resolve({"name": "mam"}).check_supports("causal_lm", "gemma2")
