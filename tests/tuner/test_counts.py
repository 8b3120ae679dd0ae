"""Trainable parameters to the integer: the paper's r x 82,944 and r x 221,184, and the size of a saved adapter."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from safetensors import safe_open
from torch import nn
from transformers import RobertaConfig, RobertaForSequenceClassification

from rocoft_bench import RoCoFTConfig

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}


def roberta_on_meta(**sizes: int) -> nn.Module:
    with torch.device("meta"):
        return RobertaForSequenceClassification(RobertaConfig(vocab_size=50265, max_position_embeddings=514, **sizes))


def trained(model: nn.Module, **settings: Any) -> int:
    peft_model = get_peft_model(model, RoCoFTConfig(**settings))
    return sum(p.numel() for p in peft_model.parameters() if p.requires_grad)


@pytest.mark.parametrize("mode", ["row", "column"])
@pytest.mark.parametrize(
    ("sizes", "rank", "count"),
    [({}, 1, 82_944), ({}, 3, 248_832), (LARGE, 1, 221_184), (LARGE, 3, 663_552)],
    ids=["base r=1", "base r=3", "large r=1", "large r=3"],
)
def test_rows_and_columns_of_all_linear_layers(sizes: dict[str, int], rank: int, count: int, mode: str) -> None:
    assert trained(roberta_on_meta(**sizes), rank=rank, mode=mode) == count


def test_query_key_value_only() -> None:
    assert trained(roberta_on_meta(), rank=2, target_modules=["query", "key", "value"]) == 55_296


def test_random_entries_and_biases() -> None:
    counts = 4 * round(0.01 * 768 * 768) + 2 * round(0.01 * 768 * 3072) + 5 * 768 + 3072
    model = roberta_on_meta(num_hidden_layers=2)
    assert trained(model, mode="random", probability=0.01, train_bias=True) == 2 * counts


@cache
def base_weights() -> nn.Module:
    """RoBERTa-base's sizes with empty weights and without the large embedding."""
    config = RobertaConfig(vocab_size=50, max_position_embeddings=20)
    with torch.device("meta"):
        model = RobertaForSequenceClassification(config)
    return model.to_empty(device="cpu")


def test_saved_adapter_of_roberta_base_is_one_megabyte(tmp_path: Path) -> None:
    get_peft_model(base_weights(), RoCoFTConfig(rank=3)).save_pretrained(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 1.03e6
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        keys = list(file.keys())
        shapes = {key: file.get_slice(key).get_shape() for key in keys}
        dtypes = {file.get_slice(key).get_dtype() for key in keys if key.endswith("row_indices")}
    assert len(keys) == 2 * 72
    assert all(shape == [3] for key, shape in shapes.items() if key.endswith("row_indices"))
    assert dtypes == {"I32"}
    assert shapes["base_model.model.roberta.encoder.layer.0.output.dense.rocoft_adapter.weight"] == [3, 3072]
