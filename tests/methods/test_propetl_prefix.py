"""PROPETL Prefix: one prototype, a mask over it for each attention, and nothing else saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.methods.modules.attention_prefix import MaskedPrefix, Prototype
from rocoft_bench.models import paper_model
from rocoft_bench.models.shape_reading import shapes_of

from .conftest import KINDS

LENGTH, HIDDEN, KEEP = 5, 6, 0.3
SETTINGS = {"name": "propetl-prefix", "num_virtual_tokens": LENGTH, "hidden_size": HIDDEN, "keep": KEEP}
WIDTH = 2 * 16
KEPT = round(KEEP * LENGTH * WIDTH)


def prefixes(model: nn.Module) -> list[MaskedPrefix]:
    return [module for module in model.modules() if isinstance(module, MaskedPrefix)]


@pytest.mark.parametrize("model_type", KINDS)
def test_attentions_share_the_prototype_and_differ_by_masks_alone(
    model_type: str, make_model: Callable[..., Any]
) -> None:
    kind = KINDS[model_type][0]
    model = methods.resolve(SETTINGS).apply(make_model(model_type, kind), kind, seed=0)
    found = prefixes(model)
    assert len(found) == (6 if model_type == "bart" else 2)
    assert sum(isinstance(module, Prototype) for module in model.modules()) == 1

    table = found[0].prototype()
    views = [torch.cat(prefix.key_and_value(), dim=-1) for prefix in found]
    masks = [view != 0 for view in views]
    for view, mask in zip(views, masks, strict=True):
        torch.testing.assert_close(view[mask], table[mask])
        assert mask.sum() == KEPT
    assert all(not torch.equal(masks[0], mask) for mask in masks[1:])


def test_prefix_and_gradients_against_a_direct_computation() -> None:
    """P = tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂, masked; the scores get dL/dM sign(S)."""
    torch.manual_seed(0)
    prefix = MaskedPrefix(LENGTH, 8, HIDDEN, 4, KEEP, torch.device("cpu"))
    prototype, scores = prefix.prototype, prefix.mask.scores
    assert prototype.mlp is not None
    assert prototype.embedding is not None
    assert scores is not None
    embedding, (w1, b1, w2, b2) = prototype.embedding, prototype.mlp.parameters()

    table = torch.tanh(embedding @ w1.T + b1) @ w2.T + b2
    threshold = scores.detach().abs().flatten().sort(descending=True).values[round(KEEP * LENGTH * 8) - 1]
    mask = (scores.detach().abs() >= threshold).float().requires_grad_()
    key, value = prefix.key_and_value()
    torch.testing.assert_close(key, (table * mask)[:, :4])
    torch.testing.assert_close(value, (table * mask)[:, 4:])

    weights = torch.randn(LENGTH, 8)
    trained = [embedding, w1, b1, w2, b2]
    *found, to_scores = torch.autograd.grad((torch.cat([key, value], 1) * weights).sum(), [*trained, scores])
    *expected, to_mask = torch.autograd.grad((table * mask * weights).sum(), [*trained, mask])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(to_scores, to_mask * scores.detach().sign())


@pytest.mark.parametrize("model_type", KINDS)
def test_saved_are_the_prototypes_values_and_the_masks_as_bits(
    model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    kind = KINDS[model_type][0]
    method, batch = methods.resolve(SETTINGS), make_batch(kind)
    model = method.apply(make_model(model_type, kind), kind, seed=0)
    trained = method.adapter_parameters(shapes_of(make_model(model_type, kind), kind in methods.TASKS_WITH_HEAD))
    assert method.stored_parameters(model, trained) == LENGTH * WIDTH
    method.save(model, tmp_path / "first")

    saved = load_file(tmp_path / "first" / "trained.safetensors")
    own = {name: tensor for name, tensor in saved.items() if ".prefix." in name}
    assert sorted(name.rpartition(".")[2] for name in own) == ["bits"] * len(prefixes(model)) + ["table"]
    assert all(len(bits) == LENGTH * WIDTH // 8 for name, bits in own.items() if name.endswith("bits"))

    loaded = method.load(make_model(model_type, kind), tmp_path / "first", kind)
    torch.testing.assert_close(logits(loaded, batch), logits(model, batch), atol=1e-5, rtol=1e-5)
    assert method.stored_parameters(loaded, 0) == LENGTH * WIDTH

    method.save(loaded, tmp_path / "second")
    again = load_file(tmp_path / "second" / "trained.safetensors")
    assert again.keys() == saved.keys()
    assert all(torch.equal(again[name], saved[name]) for name in own)


@torch.no_grad()
def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch)[1]


def test_scores_are_trained_at_a_rate_of_their_own(make_model: Callable[..., Any]) -> None:
    method = methods.resolve(SETTINGS | {"score_learning_rate": 0.5})
    model: Any = method.apply(make_model("roberta", "sequence_classification"), "sequence_classification", seed=0)
    settings = TrainingConfig(learning_rate=0.02)
    optimizer = make_optimizer(model, settings, method.hooks(model, settings, 10))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == (0.5 if name.endswith(".scores") else 0.02)


@pytest.mark.parametrize(("alias", "expected"), [("roberta-base", 2_410_496), ("roberta-large", 4_786_688)])
def test_counts(alias: str, expected: int) -> None:
    shapes = shapes_of(paper_model(alias, "AutoModelForSequenceClassification"), has_head=True)
    assert methods.resolve({"name": "propetl-prefix"}).adapter_parameters(shapes) == expected


@pytest.mark.parametrize(
    ("width", "layers", "head", "paper"), [(768, 12, 592_130, 10.49), (1024, 24, 1_051_650, 26.85)]
)
def test_the_papers_figure_is_the_unshared_prefix(width: int, layers: int, head: int, paper: float) -> None:
    unshared = 64 * width + (width + 1) * 512 + (512 + 1) * 2 * layers * width + head
    assert int(unshared / 1e4) / 100 == paper
