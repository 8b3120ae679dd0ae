from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.methods.modules import low_rank
from rocoft_bench.methods.modules.low_rank import SingularLoRA, truncated_svd
from rocoft_bench.models import AUTO_CLASSES, paper_model
from rocoft_bench.models.shape_reading import shapes_of

CLASSIFY = "sequence_classification"
SECTION = {"name": "lora-xs", "rank": 4}


def decaying(d_out: int, d_in: int) -> Tensor:
    """A matrix whose singular values halve from one to the next."""
    k = min(d_out, d_in)
    u, v = torch.linalg.qr(torch.randn(d_out, k)).Q, torch.linalg.qr(torch.randn(d_in, k)).Q
    return u @ torch.diag(10 * 0.5 ** torch.arange(k)) @ v.T


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (30, 60)])
@pytest.mark.parametrize("rank", [1, 5])
def test_lora_xs_svd_is_the_exact_one(shape: tuple[int, int], rank: int) -> None:
    torch.manual_seed(0)
    matrix = decaying(*shape)
    u, s, vt = truncated_svd(matrix, rank)
    exact_u, exact_s, exact_vt = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(s, exact_s[:rank])
    torch.testing.assert_close(u @ u.T, exact_u[:, :rank] @ exact_u[:, :rank].T, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(vt.T @ vt, exact_vt[:rank].T @ exact_vt[:rank], atol=1e-4, rtol=1e-4)
    best = exact_u[:, :rank] @ torch.diag(exact_s[:rank]) @ exact_vt[:rank]
    torch.testing.assert_close(u @ torch.diag(s) @ vt, best, atol=1e-4, rtol=1e-4)


def test_lora_xs_svd_repeats_itself_and_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(30, 20)
    state = torch.get_rng_state()
    first = truncated_svd(matrix, 5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    assert all(torch.equal(a, b) for a, b in zip(first, truncated_svd(matrix, 5), strict=True))


def random_layer(base: nn.Module, rank: int) -> SingularLoRA:
    layer = SingularLoRA(base, rank, alpha=16, dropout=0.0)
    layer.decompose()
    nn.init.normal_(layer.core)
    return layer


@pytest.mark.parametrize("base", [nn.Linear(5, 7), Conv1D(7, 5)], ids=["Linear", "Conv1D"])
def test_lora_xs_is_its_formula(base: Any) -> None:
    torch.manual_seed(0)
    layer = random_layer(base, rank=3)
    u, s, vt = torch.linalg.svd(layer.matrix, full_matrices=False)
    signs = (layer.lora_B * u[:, :3]).sum(0).sign()  # singular vectors are unique up to their signs
    core = layer.core.detach().clone().requires_grad_()

    def reference(x: Tensor) -> Tensor:
        delta = 16 / 3 * (u[:, :3] * signs) @ core @ torch.diag(s[:3] * signs) @ vt[:3]
        return x @ (layer.matrix + delta).T + base.bias.detach()

    x, weights = torch.randn(4, 2, 5), torch.randn(4, 2, 7)
    torch.testing.assert_close(layer(x), reference(x), atol=1e-4, rtol=1e-4)
    (layer(x) * weights).sum().backward()
    (reference(x) * weights).sum().backward()
    torch.testing.assert_close(layer.core.grad, core.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(layer.delta(), (layer(torch.eye(5)) - base(torch.eye(5))).T, atol=1e-4, rtol=1e-4)


def test_lora_xs_at_full_rank_with_an_identity_core_scales_the_weight() -> None:
    torch.manual_seed(0)
    layer = random_layer(nn.Linear(6, 4), rank=4)
    nn.init.eye_(layer.core)
    torch.testing.assert_close(layer.delta(), 4 * layer.matrix, atol=1e-5, rtol=1e-5)


def test_lora_xs_clips_the_rank_and_says_so(make_model: Callable[..., Any]) -> None:
    method = methods.resolve({"name": "lora-xs", "rank": 17})
    with pytest.warns(UserWarning, match="method.rank = 17: 8 of 8 matrices take no more than 16"):
        model = method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0)
    cores = [p for name, p in model.named_parameters() if name.endswith(".core")]
    assert {tuple(core.shape) for core in cores} == {(16, 16)}
    shapes = shapes_of(make_model("roberta", CLASSIFY), has_head=True)
    assert method.adapter_parameters(shapes) == len(cores) * 256


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 259_200),
        ({"rank": 25, "target_modules": ["query", "value", "attention_output", "ffn_out"]}, 30_000),
        ({"rank": 104, "target_modules": ["query", "value"]}, 259_584),
    ],
)
def test_lora_xs_counts(settings: dict[str, Any], expected: int) -> None:
    method = methods.resolve({"name": "lora-xs", **settings}, task_kind=CLASSIFY, model="roberta-base")
    shapes = shapes_of(paper_model("roberta-base", AUTO_CLASSES[CLASSIFY]), has_head=True)
    assert method.adapter_parameters(shapes) == expected


def layers_of(model: nn.Module) -> list[SingularLoRA]:
    return [module for module in model.modules() if isinstance(module, SingularLoRA)]


def test_lora_xs_trains_only_the_cores(make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    method, settings = methods.resolve(SECTION), TrainingConfig(learning_rate=0.1, weight_decay=0.5)
    model = method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0)
    trained = {name for name, p in model.named_parameters() if p.requires_grad and not name.startswith("classifier")}
    assert {name.rpartition(".")[2] for name in trained} == {"core"}
    assert len(trained) == len(layers_of(model)) == 8
    before = [(layer.lora_A.clone(), layer.lora_B.clone(), layer.core.clone()) for layer in layers_of(model)]
    optimizer = make_optimizer(model, settings, method.hooks(model, settings, 3))
    for _ in range(3):
        model(**make_batch(CLASSIFY)).loss.backward()
        optimizer.step()
    for layer, (a, b, core) in zip(layers_of(model), before, strict=True):
        assert torch.equal(layer.lora_A, a)
        assert torch.equal(layer.lora_B, b)
        assert not torch.allclose(layer.core, core, atol=1e-3)


def test_lora_xs_loads_without_an_svd(
    make_model: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = methods.resolve(SECTION)
    model = method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0)
    method.save(model, tmp_path)
    monkeypatch.delattr(low_rank, "truncated_svd")
    loaded = method.load(make_model("roberta", CLASSIFY), tmp_path, CLASSIFY)
    for new, old in zip(layers_of(loaded), layers_of(model), strict=True):
        assert torch.equal(new.lora_A, old.lora_A)
        assert torch.equal(new.lora_B, old.lora_B)
        assert torch.equal(new.core, old.core)


def test_lora_xs_resumes_with_the_factors_of_the_checkpoint(make_model: Callable[..., Any]) -> None:
    method, settings = methods.resolve(SECTION), TrainingConfig()
    models = [method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0) for _ in range(2)]
    for layer in layers_of(models[1]):
        layer.lora_A.neg_()
        layer.lora_B.neg_()
    hooks = [method.hooks(model, settings, 3) for model in models]
    hooks[1].restore({name: value.clone() for name, value in hooks[0].state().items()})
    for one, other in zip(*map(layers_of, models), strict=True):
        assert torch.equal(one.lora_A, other.lora_A)
        assert torch.equal(one.lora_B, other.lora_B)


@pytest.mark.parametrize("head_rate", [None, 5e-3])
def test_lora_xs_can_train_the_head_at_another_rate(head_rate: float | None, make_model: Callable[..., Any]) -> None:
    method, settings = methods.resolve({**SECTION, "head_learning_rate": head_rate}), TrainingConfig(learning_rate=1e-3)
    model = method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0)
    optimizer = make_optimizer(model, settings, method.hooks(model, settings, 3))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == ((head_rate or 1e-3) if name.startswith("classifier.") else 1e-3)


def test_lora_xs_trains_in_float32_on_a_half_precision_base() -> None:
    layer = SingularLoRA(nn.Linear(8, 8, dtype=torch.bfloat16), rank=3, alpha=16, dropout=0.0)
    layer.decompose()
    x = torch.randn(3, 8, dtype=torch.bfloat16)
    assert layer(x).dtype is torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
    assert {layer.core.dtype, layer.lora_A.dtype, layer.lora_B.dtype} == {torch.float32}
