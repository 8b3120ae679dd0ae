"""Tiny models of the architectures that methods have to know, without and with weights of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as t
from torch import nn

from rocoft_bench.models import AUTO_CLASSES

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TOKENS = {"vocab_size": 50, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
ENCODER = {**SMALL, **TOKENS, "max_position_embeddings": 80, "hidden_dropout_prob": 0.0}

CONFIGS: dict[str, Callable[[], Any]] = {
    "bert": lambda: t.BertConfig(**ENCODER, attention_probs_dropout_prob=0.0),
    "roberta": lambda: t.RobertaConfig(**ENCODER, attention_probs_dropout_prob=0.0),
    "deberta-v2": lambda: t.DebertaV2Config(
        **ENCODER,
        attention_probs_dropout_prob=0.0,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=32,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
        type_vocab_size=0,
    ),
    "bart": lambda: t.BartConfig(
        **TOKENS, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=80, decoder_start_token_id=2, dropout=0.0,
        forced_bos_token_id=0,
    ),
    "llama": lambda: t.LlamaConfig(**SMALL, **TOKENS, num_key_value_heads=2, max_position_embeddings=80),
    "gptj": lambda: t.GPTJConfig(
        **TOKENS, n_embd=16, n_layer=2, n_head=2, n_inner=32, rotary_dim=4, n_positions=80, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0,
    ),
    "bloom": lambda: t.BloomConfig(
        **TOKENS, hidden_size=16, n_layer=2, n_head=2, hidden_dropout=0.0, attention_dropout=0.0
    ),
}  # fmt: skip
KINDS = {
    "bert": ("sequence_classification", "question_answering"),
    "roberta": ("sequence_classification", "question_answering"),
    "deberta-v2": ("sequence_classification", "question_answering"),
    "bart": ("seq2seq_lm",),
    "llama": ("causal_lm",),
    "gptj": ("causal_lm",),
    "bloom": ("causal_lm",),
}
"""Of each architecture, the kinds of tasks that are tried."""


@pytest.fixture
def make_model() -> Callable[[str, str], nn.Module]:
    """make_model(model_type, task_kind): always the same tiny random model, in eval mode."""

    def make(model_type: str, task_kind: str) -> Any:
        torch.manual_seed(0)
        return getattr(t, AUTO_CLASSES[task_kind]).from_config(CONFIGS[model_type]()).eval()

    return make


@pytest.fixture
def make_batch() -> Callable[[str], dict[str, torch.Tensor]]:
    """make_batch(task_kind): three padded rows with targets."""

    def make(task_kind: str) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(3, 50, (3, 9), generator=generator)
        mask = torch.ones_like(ids)
        ids[1, 6:], mask[1, 6:] = 1, 0
        targets = {
            "sequence_classification": {"labels": torch.tensor([0, 1, 1])},
            "question_answering": {
                "start_positions": torch.tensor([1, 2, 3]),
                "end_positions": torch.tensor([2, 4, 3]),
            },
            "causal_lm": {"labels": ids.masked_fill(mask == 0, -100)},
            "seq2seq_lm": {"labels": ids[:, :5].clone()},
        }[task_kind]
        return {"input_ids": ids, "attention_mask": mask, **targets}

    return make
