"""The loss of causal models equals transformers' bit for bit, and keeps less."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.loss.loss_utils import ForCausalLMLoss

from rocoft_bench import methods
from rocoft_bench.efficiency.step_counts import count_step
from rocoft_bench.engine import causal_loss
from rocoft_bench.engine.batching import NO_LABEL
from rocoft_bench.engine.causal_loss import keep_logits_only

SHAPE = (3, 7, 50)


def losses(kind: torch.dtype, of: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """A loss and the gradient of the logits."""
    torch.manual_seed(0)
    logits = torch.randn(SHAPE, dtype=kind).mul_(3).requires_grad_()
    labels = torch.randint(0, SHAPE[-1], SHAPE[:2])
    labels[0, :4] = labels[2, 5:] = NO_LABEL
    loss = of(logits, labels, SHAPE[-1]) * 0.3
    return loss, torch.autograd.grad(loss, logits)[0]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("part", [1, 200, 2**22])
def test_it_is_the_very_same(kind: torch.dtype, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(causal_loss, "PART", part)
    for ours, theirs in zip(losses(kind, causal_loss.causal_loss), losses(kind, ForCausalLMLoss), strict=True):
        assert torch.equal(ours, theirs)


def test_options_are_heeded() -> None:
    logits, labels = torch.randn(SHAPE), torch.randint(0, SHAPE[-1], SHAPE[:2])
    for options in ({"num_items_in_batch": 3}, {"ignore_index": int(labels[0, 1])}, {"shift_labels": labels}):
        found = [of(logits, labels, SHAPE[-1], **options) for of in (causal_loss.causal_loss, ForCausalLMLoss)]
        assert torch.equal(*found)
        assert found[0] != causal_loss.causal_loss(logits, labels, SHAPE[-1])


def test_sixteen_bits_are_kept_as_they_are() -> None:
    kept = {}
    for loss in (ForCausalLMLoss, causal_loss.causal_loss):
        logits = torch.randn(SHAPE, dtype=torch.bfloat16, requires_grad=True)
        labels = torch.zeros(SHAPE[:2], dtype=torch.long)
        kept[loss] = count_step(nn.Identity(), lambda: loss(logits, labels, SHAPE[-1]).backward()).saved_bytes  # noqa: B023
    values = logits.numel()
    assert kept[ForCausalLMLoss] > 4 * values
    assert kept[causal_loss.causal_loss] < 2.5 * values


@pytest.mark.parametrize("method", ["full", "rocoft", "prompt-tuning"])
def test_models_take_it(method: str, tiny_of: Callable[[str], Path]) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_of("meta-llama/Llama-2-7b-hf"))
    model: Any = methods.resolve({"name": method}).apply(base, "causal_lm", 0)
    ids = torch.randint(3, 200, (2, 6))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    before = model(**batch).loss
    keep_logits_only(model)
    assert base.loss_function is causal_loss.causal_loss
    assert torch.equal(model(**batch).loss, before)
