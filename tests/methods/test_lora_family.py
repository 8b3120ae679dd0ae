"""LoRA-FA and DoRA, which are LoRA but for what is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.optimizers import create_lorafa_optimizer
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.models import paper_model
from rocoft_bench.models.pretrained import AUTO_CLASSES
from rocoft_bench.models.shape_reading import shapes_of

from .crashed_runs import KIND, crashed_and_whole, trainer


@pytest.mark.parametrize(
    ("section", "count"),
    [
        ({"name": "lora-fa"}, 442_368),
        ({"name": "lora-fa", "rank": 8, "target_modules": ["query", "value"]}, 147_456),
        ({"name": "dora"}, 294_912 + 18_432),
    ],
)
def test_counts_on_roberta_base(section: dict[str, Any], count: int) -> None:
    shapes = shapes_of(paper_model("roberta-base", AUTO_CLASSES[KIND]), has_head=True)
    assert methods.resolve(section, model="roberta-base").adapter_parameters(shapes) == count


def layers(model: Any) -> dict[str, LoraLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}


def factor(model: Any, which: str) -> dict[str, Tensor]:
    return {name: getattr(layer, which)["default"].weight for name, layer in layers(model).items()}


@pytest.mark.parametrize("optimizer", ["adamw", "lora_fa"])
def test_a_stays_as_it_was_drawn(optimizer: str, make_model: Callable[..., Any], tmp_path: Path) -> None:
    """Weight decay, which the runs here have, would shrink a matrix whose gradient is merely zero."""
    method = methods.resolve({"name": "lora-fa", "optimizer": optimizer})
    run = trainer(method, make_model, tmp_path / "run")
    before = {name: a.clone() for name, a in factor(run.model, "lora_A").items()}
    run.run()
    assert all(torch.equal(a, before[name]) for name, a in factor(run.model, "lora_A").items())
    assert all(b.abs().sum() > 0 for b in factor(run.model, "lora_B").values())
    method.save(run.model, tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert all(torch.equal(saved[f"{name}.lora_A.weight"], a) for name, a in before.items())


def test_peft_does_not_unfreeze_a(make_model: Callable[..., Any]) -> None:
    """It sets what is trained when adapters are chosen, and when they are switched off and on."""
    model: Any = methods.resolve({"name": "lora-fa"}).apply(make_model("roberta", KIND), KIND, seed=0)

    def trained() -> set[str]:
        return {name for name, p in model.named_parameters() if p.requires_grad and "lora_" in name}

    before = trained()
    assert before
    assert all(".lora_B." in name for name in before)
    model.set_adapter("default")
    assert trained() == before
    with model.disable_adapter():
        assert not trained()
    assert trained() == before
    model.base_model.enable_adapter_layers()
    assert trained() == before


@pytest.mark.parametrize("crash_at", [2, 7])
@pytest.mark.parametrize("optimizer", ["adamw", "lora_fa"])
def test_a_crashed_run_goes_on_to_the_identical_result(
    optimizer: str, crash_at: int, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    method = methods.resolve({"name": "lora-fa", "optimizer": optimizer, "dropout": 0.1})
    crashed_and_whole(method, make_model, tmp_path, crash_at)


def lora_fa_model(make_model: Callable[..., Any]) -> tuple[methods.Method, Any]:
    method = methods.resolve({"name": "lora-fa", "rank": 4, "alpha": 6, "optimizer": "lora_fa"})
    return method, method.apply(make_model("roberta", KIND), KIND, seed=0)


def test_the_optimizer_steps_as_pefts(make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    (method, ours), (_, pefts) = (lora_fa_model(make_model) for _ in range(2))
    settings = TrainingConfig(learning_rate=0.01)
    own = make_optimizer(ours, settings, method.hooks(ours, settings, 3))
    theirs = create_lorafa_optimizer(pefts, r=4, lora_alpha=6, lr=0.01)
    for model, optimizer in ((ours, own), (pefts, theirs)):
        for _ in range(3):
            model(**make_batch(KIND)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    expected = dict(pefts.named_parameters())
    for name, parameter in ours.named_parameters():
        assert torch.equal(parameter, expected[name]), name


def test_the_optimizer_keeps_the_parameter_groups(make_model: Callable[..., Any]) -> None:
    method, model = lora_fa_model(make_model)
    settings = TrainingConfig(weight_decay=0.1)
    groups = make_optimizer(model, settings, method.hooks(model, settings, 3)).param_groups
    names = {group["weight_decay"]: group["names"] for group in groups}
    assert all(name.endswith("bias") for name in names[0.0])
    assert sum("lora_A" in name for name in names[0.1]) == sum("lora_B" in name for name in names[0.1]) == 2 * 3
    assert sum(name.endswith("weight") and "modules_to_save" in name for name in names[0.1]) == 2


def test_dora_is_its_formula(make_model: Callable[..., Any]) -> None:
    """Forward and gradients, the norm counting as a constant as in the paper (section 4.3)."""
    model: Any = methods.resolve({"name": "dora"}).apply(make_model("roberta", KIND), KIND, seed=0)
    layer: Any = next(iter(layers(model).values()))
    b, a = layer.lora_B["default"].weight, layer.lora_A["default"].weight
    magnitude = layer.lora_magnitude_vector["default"].weight
    torch.manual_seed(0)
    with torch.no_grad():
        b.normal_()
        magnitude.mul_(1.5)
    x, target = torch.randn(5, 16), torch.randn(5, 16)
    changed = layer.get_base_layer().weight + 16 / 8 * b @ a
    norm = changed.norm(dim=1, keepdim=True).detach()
    y = x @ (magnitude[:, None] * changed / norm).T + layer.get_base_layer().bias
    torch.testing.assert_close(layer(x), y)
    expected = torch.autograd.grad((y * target).sum(), (a, b, magnitude))
    got = torch.autograd.grad((layer(x) * target).sum(), (a, b, magnitude))
    torch.testing.assert_close(got, expected)


def test_dora_starts_as_the_base(make_model: Callable[..., Any]) -> None:
    model: Any = methods.resolve({"name": "dora"}).apply(make_model("roberta", KIND), KIND, seed=0)
    for layer in layers(model).values():
        norms = layer.get_base_layer().weight.norm(dim=1)
        torch.testing.assert_close(layer.lora_magnitude_vector["default"].weight, norms)
