"""Training a few rows, columns or entries equals dense training with masked gradients and masked decay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench import RoCoFTConfig, RoCoFTLayer
from rocoft_bench.tuner import selection

OPTIMIZER = {"lr": 0.02, "weight_decay": 0.1}
HEADS = ("classifier", "score")


def masks(model: nn.Module, peft_model: nn.Module, mode: str) -> dict[str, Tensor]:
    """Boolean masks of the trained entries, in the layout of each weight of the plain model."""
    result = {}
    for name, layer in peft_model.named_modules():
        if isinstance(layer, RoCoFTLayer):
            mask = torch.zeros(layer.out_features, layer.in_features, dtype=torch.bool)
            chosen = layer.entries("default").indices.tolist()
            for index in chosen:
                if mode == "row":
                    mask[index, :] = True
                elif mode == "column":
                    mask[:, index] = True
                else:
                    mask[index // layer.in_features, index % layer.in_features] = True
            plain = name.removeprefix("base_model.model.")
            result[f"{plain}.weight"] = mask.t() if isinstance(model.get_submodule(plain), Conv1D) else mask
    return result


def train_dense(model: nn.Module, chosen: dict[str, Tensor], batches: list[dict[str, Tensor]]) -> None:
    """Full gradients; AdamW sees, decays and steps the masked entries and the head only."""
    weights = dict(model.named_parameters())
    entries = {name: nn.Parameter(weights[name].detach()[mask]) for name, mask in chosen.items()}
    head = [p for name, p in weights.items() if name.split(".")[0] in HEADS]
    optimizer = torch.optim.AdamW([*entries.values(), *head], **OPTIMIZER)
    for batch in batches:
        model.zero_grad()
        model(**batch).loss.backward()
        for name, mask in chosen.items():
            entries[name].grad = weights[name].grad[mask]
        optimizer.step()
        with torch.no_grad():
            for name, mask in chosen.items():
                weights[name][mask] = entries[name]


def test_equals_masked_dense_training(
    build: Any, wrap: Any, mode: str, make_batch: Callable[[int], dict[str, Tensor]]
) -> None:
    batches = [make_batch(seed) for seed in range(20)]
    start = build()
    dense, model = build(), wrap(build(), mode=mode, rank=3)
    chosen = masks(dense, model, mode)
    assert len(chosen) == (12 if "roberta" in str(type(start)) else 8)

    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], **OPTIMIZER)
    for batch in batches:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    train_dense(dense, chosen, batches)

    probe = make_batch(99)
    torch.testing.assert_close(model(**probe).logits, dense(**probe).logits, atol=1e-5, rtol=1e-5)
    merged = dict(model.merge_and_unload().named_parameters())
    for name, before in start.named_parameters():
        torch.testing.assert_close(merged[name], dict(dense.named_parameters())[name], atol=1e-5, rtol=1e-5)
        if name.split(".")[0] not in HEADS:
            mask = chosen.get(name, torch.zeros_like(before, dtype=torch.bool))
            assert torch.equal(merged[name][~mask], before[~mask])
            assert name not in chosen or not torch.equal(merged[name][mask], before[mask])


def dense_copy(model: PeftModel, start: nn.Module, adapter: str) -> nn.Module:
    """The plain model with an adapter's values in its weights."""
    merged = copy.deepcopy(model)
    merged.set_adapter(adapter)
    start.load_state_dict(merged.merge_and_unload().state_dict())
    return start.eval()


def disabled(model: PeftModel, batch: dict[str, Tensor]) -> None:
    with torch.no_grad(), model.disable_adapter():
        model(**batch)


def other_adapter(model: PeftModel, batch: dict[str, Tensor]) -> None:
    model.set_adapter("other")
    with torch.no_grad():
        model(**batch)
    model.set_adapter("default")


@pytest.mark.parametrize("between", [disabled, other_adapter, lambda model, batch: None], ids=["off", "other", "none"])
def test_two_forwards_before_one_backward(
    build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any, between: Any
) -> None:
    """As in preference learning, where the reference model, or another adapter, runs between."""
    first, second = make_batch(0), make_batch(1)
    model = wrap(build(), mode=mode, task_type=None).eval()
    model.add_adapter("other", RoCoFTConfig(mode="column", selection="random", init_weights=False))
    scramble(model)
    dense = dense_copy(model, build(), "default")
    chosen = masks(dense, model, mode)

    for each in (model, dense):
        each.zero_grad()
        logits = each(**first).logits
        if each is model:
            between(model, second)
        (logits * each(**second).logits).sum().backward()
    weights = dict(dense.named_parameters())
    for name, mask in chosen.items():
        layer = model.base_model.model.get_submodule(name.removesuffix(".weight"))
        ours = torch.zeros(mask.shape)
        view = ours.t() if isinstance(layer.get_base_layer(), Conv1D) else ours
        selection.write(view, layer.entries("default").indices, mode, layer.entries("default").weight.grad)
        torch.testing.assert_close(ours, weights[name].grad * mask, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(build: Any, wrap: Any, mode: str, make_batch: Any, reentrant: bool) -> None:
    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        model = wrap(build(), mode=mode)
        model.train()
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model(**make_batch(0)).loss.backward()
        return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}

    torch.testing.assert_close(gradients(True), gradients(False))


def test_autocast_training(build: Any, wrap: Any, mode: str, make_batch: Any) -> None:
    model = wrap(build(), mode=mode)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**make_batch(0)).loss
    loss.backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_model(build: Any, wrap: Any, mode: str, make_batch: Any, dtype: torch.dtype) -> None:
    model = wrap(build().to(dtype), mode=mode)
    trained = [p for name, p in model.named_parameters() if "rocoft_" in name]
    assert {p.dtype for p in trained} == {torch.float32}
    model(**make_batch(0)).loss.backward()
    assert all(p.grad.dtype == torch.float32 for p in trained)
    model.to(dtype)
    layer = next(m for m in model.modules() if isinstance(m, RoCoFTLayer))
    assert layer.entries("default").indices.dtype == torch.int32
    assert torch.isfinite(model(**make_batch(0)).logits).all()


@pytest.mark.parametrize("mode", ["row", "column"])
def test_compiled(build: Any, wrap: Any, mode: str, make_batch: Any) -> None:
    model = wrap(build(), mode=mode)
    layer = next(m for m in model.modules() if isinstance(m, RoCoFTLayer))
    x = torch.randn(2, 3, layer.in_features, requires_grad=True)
    expected = layer(x).square().sum()
    gradients = torch.autograd.grad(expected, [x, layer.entries("default").weight])
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)(x).square().sum()
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(torch.autograd.grad(compiled, [x, layer.entries("default").weight]), gradients)


def test_biases_are_trained_per_adapter(build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any) -> None:
    batch, plain = make_batch(0), build().eval()
    model = wrap(build(), mode=mode, train_bias=True).eval()
    model.add_adapter("other", model.peft_config["default"])
    model(**batch).loss.backward()
    biases = [p for name, p in model.named_parameters() if name.endswith("rocoft_adapter.default.bias")]
    assert len(biases) == (12 if "Roberta" in type(plain).__name__ else 8)
    assert all(p.grad is not None for p in biases)
    with torch.no_grad():
        for bias in biases:
            bias.add_(1.0)
    shifted = model(**batch).logits
    with model.disable_adapter():
        assert torch.equal(model(**batch).logits, plain(**batch).logits)
    model.set_adapter("other")
    torch.testing.assert_close(model(**batch).logits, plain(**batch).logits)
    model.set_adapter("default")
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(**batch).logits, shifted)
