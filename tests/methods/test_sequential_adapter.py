from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rocoft_bench import methods
from rocoft_bench.methods.modules.bottleneck import Bottleneck, NormedBottleneck
from rocoft_bench.models import AUTO_CLASSES, paper_model
from rocoft_bench.models.shape_reading import shapes_of

CLASSIFY = "sequence_classification"


@pytest.mark.parametrize(
    ("alias", "bottleneck", "expected"),
    [("roberta-base", 200, 7_414_464), ("roberta-large", 200, 19_768_704), ("roberta-base", 64, 2_397_696)],
)
def test_adapter_counts(alias: str, bottleneck: int, expected: int) -> None:
    shapes = shapes_of(paper_model(alias, AUTO_CLASSES[CLASSIFY]), has_head=True)
    assert methods.resolve({"name": "adapter", "bottleneck": bottleneck}).adapter_parameters(shapes) == expected


@pytest.mark.parametrize("kind", [Bottleneck, NormedBottleneck])
def test_adapter_is_its_formula(kind: type[Bottleneck]) -> None:
    torch.manual_seed(0)
    layer = kind(nn.Linear(5, 6), 3)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    values = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}

    def reference(x: Tensor) -> Tensor:
        h = x @ values["base_layer.weight"].T + values["base_layer.bias"]
        z = h
        if kind is NormedBottleneck:
            centred = h - h.mean(-1, keepdim=True)
            z = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
            z = z * values["norm.weight"] + values["norm.bias"]
        inner = (z @ values["down.weight"].T + values["down.bias"]).clamp(min=0)
        return h + inner @ values["up.weight"].T + values["up.bias"]

    x = torch.randn(4, 2, 5)
    weights = torch.randn(4, 2, 6)
    torch.testing.assert_close(layer(x), reference(x))
    (layer(x) * weights).sum().backward()
    (reference(x) * weights).sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, values[name].grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("model_type", "kind", "attentions", "ffns"), [
    ("roberta", CLASSIFY, 2, 2), ("bart", "seq2seq_lm", 6, 4), ("gptj", "causal_lm", 2, 2),
])  # fmt: skip
def test_adapter_follows_every_attention_and_ffn(
    model_type: str, kind: str, attentions: int, ffns: int, make_model: Callable[..., Any]
) -> None:
    model = methods.resolve({"name": "adapter", "bottleneck": 3}).apply(make_model(model_type, kind), kind, seed=0)
    normed = [module for module in model.modules() if isinstance(module, NormedBottleneck)]
    every = [module for module in model.modules() if isinstance(module, Bottleneck)]
    assert (len(normed), len(every)) == (attentions, attentions + ffns)
    assert {module.d_out for module in every} == {16}


def test_adapter_starts_near_the_base_model(make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    method, batch = methods.resolve({"name": "adapter", "bottleneck": 8}), make_batch(CLASSIFY)
    with torch.no_grad():
        plain = make_model("roberta", CLASSIFY)(**batch).logits
        adapted = method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0).eval()(**batch).logits
    assert 0 < (plain - adapted).abs().max() < 0.02 * plain.abs().max() + 1e-3


def test_adapter_trains_in_float32_on_a_half_precision_base() -> None:
    layer = NormedBottleneck(nn.Linear(8, 8, dtype=torch.bfloat16), 4)
    x = torch.randn(3, 8, dtype=torch.bfloat16)
    assert layer(x).dtype is torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
    trained = [p for name, p in layer.named_parameters() if not name.startswith("base_layer.")]
    assert {p.dtype for p in trained} == {torch.float32}
