"""What every method must do on every architecture and kind of task that it serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.errors import UserError
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models import AUTO_CLASSES
from rocoft_bench.models.architectures import configuration, on_meta
from rocoft_bench.models.parameter_counts import count_parameters
from rocoft_bench.models.shape_reading import shapes_of

from .conftest import KINDS

STEPS = 8
SMALLER: dict[str, dict[str, Any]] = {
    "prompt-tuning": {"num_virtual_tokens": 3},
    "prefix-tuning": {"num_virtual_tokens": 3},
    "vera": {"rank": 8},
    "lora-xs": {"rank": 4},
    "propetl-prefix": {"num_virtual_tokens": 3, "hidden_size": 6},
    "mam": {"num_virtual_tokens": 3, "bottleneck": 4},
    "adapter": {"bottleneck": 4},
    "propetl-adapter": {"bottleneck": 4},
}
"""Settings that suit a model of width 16."""
NEEDS_EXTRA = {"qlora": "bitsandbytes", "loftq": "bitsandbytes"}


def cases() -> list[Any]:
    return [
        pytest.param(name, model_type, kind, id=f"{name}-{model_type}-{kind}")
        for name in methods.METHODS
        for model_type, kinds in KINDS.items()
        for kind in kinds
    ]


def resolved(name: str, model_type: str, kind: str) -> methods.Method:
    """Skips what the method says it does not serve."""
    if name in NEEDS_EXTRA:
        pytest.importorskip(NEEDS_EXTRA[name])
    method = methods.resolve({"name": name, **SMALLER.get(name, {})}, task_kind=kind)
    try:
        method.check_supports(kind, model_type)
    except UserError as error:
        pytest.skip(str(error))
    if method.loading_options:
        pytest.skip("needs a base model loaded in its own way, see its own tests")
    return method


def train(method: methods.Method, model: Any, batch: dict[str, Tensor]) -> list[float]:
    """A few steps as the trainer makes them; the losses."""
    settings = TrainingConfig(learning_rate=0.02)
    hooks = method.hooks(model, settings, STEPS)
    optimizer = make_optimizer(model, settings, hooks)
    hooks.started(optimizer)
    model.train()
    losses = []
    for step in range(1, STEPS + 1):
        hooks.before_step(step)
        extra = hooks.extra_loss()
        loss = model(**batch).loss
        (loss if extra is None else loss + extra).backward()
        losses.append(loss.item())
        skipped = [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert method.skips_parameters or not skipped, "processes that share a run would wait for these"
        hooks.after_backward(step)
        optimizer.step()
        hooks.after_step(step)
        optimizer.zero_grad()
    model.eval()
    return losses


@torch.no_grad()
def outputs(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """All logits of a batch where its rows are real, as one vector."""
    result = model(**batch)
    logits = [result.start_logits, result.end_logits] if "start_positions" in batch else [result.logits]
    real = batch["attention_mask"].bool()
    return torch.cat([(x[real] if x.shape[:2] == real.shape else x).flatten() for x in logits])


def frozen_values(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize(("name", "model_type", "kind"), cases())
def test_it_is_counted_learns_saves_loads_and_merges(
    name: str,
    model_type: str,
    kind: str,
    make_model: Callable[..., Any],
    make_batch: Callable[..., Any],
    tmp_path: Path,
) -> None:
    method = resolved(name, model_type, kind)
    batch, fresh = make_batch(kind), make_model(model_type, kind)
    shapes = shapes_of(fresh, kind in TASKS_WITH_HEAD)
    model = method.apply(make_model(model_type, kind), kind, seed=0)
    counts = count_parameters(model, kind in TASKS_WITH_HEAD)
    assert (counts.adapter, counts.head) == (method.adapter_parameters(shapes), shapes.head), (
        "not as its formula has it"
    )
    frozen = frozen_values(model)
    before = outputs(model, batch)
    losses = train(method, model, batch)
    after = outputs(model, batch)
    assert losses[-1] < losses[0]
    assert not torch.allclose(before, after)
    moved = [
        key for key, value in frozen_values(model).items() if key in frozen and not torch.equal(value, frozen[key])
    ]
    assert not [key for key in moved if "ranknum" not in key]

    method.save(model, tmp_path)
    assert not list(tmp_path.rglob("*.bin"))
    torch.manual_seed(123)  # whatever a fresh process would draw
    loaded = method.load(make_model(model_type, kind), tmp_path, kind).eval()
    torch.testing.assert_close(outputs(loaded, batch), after, atol=1e-5, rtol=1e-5)

    if method.mergeable:
        merged = method.merge(loaded)
        torch.testing.assert_close(outputs(merged, batch), after, atol=1e-5, rtol=1e-4)
        assert type(merged) is type(fresh)
        assert set(merged.state_dict()) == set(fresh.state_dict())
    else:
        with pytest.raises(UserError, match="cannot be merged"):
            method.merge(loaded)


PAPER_MODELS = [
    ("roberta-base", "sequence_classification"),
    ("roberta-large", "sequence_classification"),
    ("deberta-v3-base", "question_answering"),
    ("bart-large", "seq2seq_lm"),
    ("llama-2-7b", "causal_lm"),
]


@pytest.mark.parametrize(("alias", "kind"), PAPER_MODELS)
@pytest.mark.parametrize("name", methods.METHODS)
def test_its_formula_on_two_blocks_of_the_papers_models(name: str, alias: str, kind: str) -> None:
    """All blocks of a stack are alike."""
    method = methods.resolve({"name": name}, task_kind=kind, model=alias)
    layers = ("encoder_layers", "decoder_layers") if alias == "bart-large" else ("num_hidden_layers",)
    model = on_meta(configuration(alias, dict.fromkeys(layers, 2)), AUTO_CLASSES[kind])
    try:
        method.check_supports(kind, model.config.model_type)
    except UserError as error:
        pytest.skip(str(error))
    shapes = shapes_of(model, kind in TASKS_WITH_HEAD)
    counts = count_parameters(method.apply(model, kind, seed=0), kind in TASKS_WITH_HEAD)
    assert (counts.adapter, counts.head) == (method.adapter_parameters(shapes), shapes.head)
