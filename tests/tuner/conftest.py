"""Two small classifiers with random weights: a RoBERTa of `nn.Linear` and a GPT-2 of transposed `Conv1D`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from rocoft_bench import RoCoFTConfig

Batch = dict[str, Tensor]


def roberta() -> nn.Module:
    config = RobertaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=20,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.2,
    )
    return RobertaForSequenceClassification(config)


def gpt2() -> nn.Module:
    config = GPT2Config(
        vocab_size=40,
        n_embd=16,
        n_layer=2,
        n_head=2,
        n_inner=24,
        n_positions=20,
        pad_token_id=0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        initializer_range=0.2,
    )
    return GPT2ForSequenceClassification(config)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make()


@pytest.fixture(params=[roberta, gpt2])
def build(request: pytest.FixtureRequest) -> Callable[[], nn.Module]:
    """Builds the same small model at each call."""
    return partial(seeded, request.param)


@pytest.fixture
def both_builds() -> dict[str, Callable[[], nn.Module]]:
    return {make.__name__: partial(seeded, make) for make in (roberta, gpt2)}


@pytest.fixture(params=["row", "column", "random"])
def mode(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def wrap() -> Callable[..., PeftModel]:
    """Puts a RoCoFT adapter with its head on a model; mode random trains a fifth of the entries."""

    def call(model: nn.Module, **settings: Any) -> PeftModel:
        size: dict[str, Any] = {"probability": 0.2} if settings.get("mode") == "random" else {"rank": 2}
        return get_peft_model(model, RoCoFTConfig(**({"task_type": "SEQ_CLS"} | size | settings)))

    return call


@pytest.fixture
def make_batch() -> Callable[[int], Batch]:
    """4 x 7 tokens without padding, and labels."""

    def call(seed: int) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(3, 40, (4, 7), generator=generator)
        labels = torch.randint(0, 2, (4,), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

    return call


@pytest.fixture
def scramble() -> Callable[[nn.Module], None]:
    """Moves every trainable value away from where it started, as training would."""

    def call(model: nn.Module) -> None:
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)

    return call
