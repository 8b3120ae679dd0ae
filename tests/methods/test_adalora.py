"""AdaLoRA: its counts, its penalty, its schedule, what is left of it, and that it can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.adalora import AdaLoraLayer
from safetensors.torch import load_file

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.errors import UserError
from rocoft_bench.methods.adalora import AdaLoRASettings
from rocoft_bench.models import paper_model
from rocoft_bench.models.pretrained import AUTO_CLASSES
from rocoft_bench.models.shape_reading import shapes_of

from .crashed_runs import KIND, STEPS, crashed_and_whole, trainer

TINY = {"name": "adalora", "init_rank": 4, "rank": 2, "interval": 2, "dropout": 0.1}
COUNTS = [
    ("roberta-base", "sequence_classification", 442_656),
    ("roberta-large", "sequence_classification", 1_180_224),
    ("deberta-v3-base", "question_answering", 811_536),
    ("bart-large", "seq2seq_lm", 1_622_808),
    ("bloomz-7b", "causal_lm", 24_085_740),
    ("gpt-j-6b", "causal_lm", 20_186_628),
    ("llama-2-7b", "causal_lm", 24_545_472),
    ("llama-2-13b", "causal_lm", 43_912_320),
]


@pytest.mark.parametrize(("alias", "kind", "count"), COUNTS)
def test_the_papers_budgets(alias: str, kind: str, count: int) -> None:
    method = methods.resolve({"name": "adalora"}, task_kind=kind, model=alias)
    shapes = shapes_of(paper_model(alias, AUTO_CLASSES[kind]), has_head=False)
    assert method.adapter_parameters(shapes) == count


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_loss_and_penalty_apart_make_pefts_gradient(
    make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    method, batch = methods.resolve({"name": "adalora", "orthogonality": 0.3}), make_batch(KIND)
    ours, pefts = (method.apply(make_model("roberta", KIND), KIND, seed=0) for _ in range(2))
    pefts.peft_config["default"].orth_reg_weight = 0.3
    penalty = method.hooks(ours, TrainingConfig(), STEPS).extra_loss()
    assert penalty is not None
    loss, theirs = ours(**batch).loss, pefts(**batch).loss
    torch.testing.assert_close(loss, make_model("roberta", KIND)(**batch).loss)  # Λ = 0: the task's loss, no more
    assert penalty > 0.1
    torch.testing.assert_close(loss + penalty, theirs)
    (loss + penalty).backward()
    theirs.backward()
    assert gradients(ours).keys() == gradients(pefts).keys()
    for name, gradient in gradients(ours).items():
        torch.testing.assert_close(gradient, gradients(pefts)[name], msg=name)


def test_no_weight_no_penalty(make_model: Callable[..., Any]) -> None:
    method = methods.resolve({"name": "adalora", "orthogonality": 0})
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    assert method.hooks(model, TrainingConfig(), STEPS).extra_loss() is None


@pytest.mark.parametrize(("warmup", "final"), [(0, 0), (0.1, 0.3), (0.5, 0.49), (0, 0.99), (0.99, 0)])
def test_every_length_of_training_has_time_to_allocate(warmup: float, final: float) -> None:
    settings = AdaLoRASettings(warmup=warmup, final=final)
    for steps in range(2, 200):
        before, after = settings.phases(steps)
        assert 0 <= before < steps - after
        assert steps - after >= 2  # importance is known from the second step on
        assert before <= warmup * steps
        assert after <= final * steps


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_runs(steps: int, make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    method = methods.resolve(TINY)
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    hooks = method.hooks(model, TrainingConfig(), steps)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(1, steps + 1):
        model(**make_batch(KIND)).loss.backward()
        optimizer.step()
        hooks.after_step(step)
        optimizer.zero_grad()
    left = sum(int(layer.lora_E["default"].count_nonzero()) for layer in layers(model))
    assert left == 4 * 4 if steps == 1 else left <= 4 * 2


def layers(model: Any) -> list[AdaLoraLayer]:
    return [module for module in model.modules() if isinstance(module, AdaLoraLayer)]


@pytest.mark.parametrize("crash_at", [2, 5, 9, 11])
def test_a_crashed_run_goes_on_to_the_identical_result(
    crash_at: int, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    """Crashes within each of the three phases, 1, 8 and 3 steps long."""
    whole, resumed = crashed_and_whole(methods.resolve(TINY), make_model, tmp_path, crash_at)
    configs = [run.model.peft_config["default"] for run in (whole, resumed)]
    assert configs[0].rank_pattern == configs[1].rank_pattern
    assert (configs[0].tinit, configs[0].tfinal, configs[0].total_step) == (1, 3, STEPS)


@pytest.fixture
def trained(make_model: Callable[..., Any], tmp_path: Path) -> tuple[methods.Method, Any]:
    method = methods.resolve(TINY)
    run = trainer(method, make_model, tmp_path / "run")
    run.run()
    return method, run.model


def test_the_budget_is_kept_and_moves(trained: tuple[methods.Method, Any]) -> None:
    """Of four matrices with four ranks each, eight triplets are left, not two of each."""
    ranks = [int(layer.lora_E["default"].count_nonzero()) for layer in layers(trained[1])]
    assert sum(ranks) == 4 * 2
    assert set(ranks) != {2}


def test_what_is_stored_is_what_is_left(trained: tuple[methods.Method, Any], tmp_path: Path) -> None:
    method, model = trained
    method.save(model, tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    stored = sum(value.numel() for name, value in saved.items() if ".lora_" in name)
    assert stored == method.stored_parameters(model, trained=4 * 4 * 33) == 4 * 2 * 33


def test_a_loaded_adapter_stores_as_much(
    trained: tuple[methods.Method, Any], make_model: Callable[..., Any], tmp_path: Path
) -> None:
    method, model = trained
    method.save(model, tmp_path)
    loaded = method.load(make_model("roberta", KIND), tmp_path, KIND)
    assert method.stored_parameters(loaded, trained=0) == 4 * 2 * 33


def test_a_half_precision_base_is_loaded_exactly(
    make_model: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    method, batch = methods.resolve(TINY), make_batch(KIND)
    run = trainer(method, lambda *which: make_model(*which).bfloat16(), tmp_path / "run")
    run.run()
    method.save(run.model, tmp_path)
    loaded = method.load(make_model("roberta", KIND).bfloat16(), tmp_path, KIND).eval()
    for own, other in zip(layers(run.model), layers(loaded), strict=True):
        kept = own.lora_E["default"].flatten() != 0
        assert torch.equal(own.lora_A["default"][kept], other.lora_A["default"])
    with torch.no_grad():
        torch.testing.assert_close(loaded(**batch).logits, run.model.eval()(**batch).logits)


def test_an_overflow_leaves_no_trace(make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    """With fp16 the first steps may have infinite gradients and are skipped."""
    method = methods.resolve(TINY)
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    hooks = method.hooks(model, TrainingConfig(), STEPS)
    model(**make_batch(KIND)).loss.backward()
    layers(model)[0].lora_A["default"].grad.fill_(float("inf"))
    hooks.after_step(1)
    assert all(value.isfinite().all() for value in hooks.state().values())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rank": 12}, "rank = 12 must be below init_rank = 12"),
        ({"warmup": 0.5, "final": 0.5}, "must add up to less than 1"),
    ],
)
def test_settings_without_an_allocation_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        methods.resolve({"name": "adalora", **wrong})


def test_the_best_epoch_cannot_be_kept() -> None:
    with pytest.raises(UserError, match="changes until the end"):
        methods.resolve({"name": "adalora"}).check_training(TrainingConfig(keep="best"))
