"""A step of RoCoFT on sizes of the paper's models: what a frozen one computes and keeps, and next to nothing more."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rocoft_bench.efficiency.bench_settings import BenchSettings
from rocoft_bench.efficiency.bench_subject import BenchSubject, random_model
from rocoft_bench.efficiency.step_counts import StepCounts
from rocoft_bench.tuner import RoCoFTLayer

ROBERTA = {"name": "roberta-base", "num_hidden_layers": 1, "vocab_size": 60}
LLAMA = {
    "name": "llama-2-7b",
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "num_hidden_layers": 1,
    "vocab_size": 60,
}


def counted(model: dict[str, Any], task_kind: Any, method: dict[str, Any]) -> tuple[StepCounts, int]:
    """Also the bytes of trained values in layers."""
    bench = BenchSettings(model=model, task_kind=task_kind, method=method, batch_size=1, sequence_length=32)
    subject = BenchSubject(bench, random_model(bench, torch.device("cpu")))
    layers = [module for module in subject.model.modules() if isinstance(module, RoCoFTLayer)]
    return subject.counts(), sum(p.nbytes for layer in layers for p in layer.rocoft_adapter.parameters())


@pytest.mark.parametrize(("model", "task_kind"), [(ROBERTA, "sequence_classification"), (LLAMA, "causal_lm")])
def test_beside_a_frozen_model(model: dict[str, Any], task_kind: str) -> None:
    frozen, _ = counted(model, task_kind, {"name": "frozen"})
    all_linear = ["query", "key", "value", "attention_output", "ffn_in", "ffn_out"]
    all_linear += ["ffn_gate"] if model is LLAMA else []
    lora, _ = counted(model, task_kind, {"name": "lora", "target_modules": all_linear})
    for mode in ("row", "column"):
        ours, trained_bytes = counted(model, task_kind, {"name": "rocoft", "mode": mode})
        head = 0.02 if model is ROBERTA else 0  # which is trained too, and here stands on one layer instead of twelve
        assert 1 < ours.flops / frozen.flops <= 1.005 + head
        # the frozen values that trained ones replace are as many as those, however short this test's rows are
        assert trained_bytes <= ours.saved_bytes - frozen.saved_bytes + 1
        assert (ours.saved_bytes - trained_bytes) / frozen.saved_bytes <= 1.01 + head
        assert ours.flops < lora.flops
        assert ours.saved_bytes < lora.saved_bytes / 1.1
        assert ours.operations < lora.operations


@pytest.mark.parametrize("mode", ["row", "column"])
def test_what_a_layer_holds(mode: str) -> None:
    """Trained values and indices: little more than r d values."""
    bench = BenchSettings(model=ROBERTA, method={"name": "rocoft", "mode": mode})
    model = BenchSubject(bench, random_model(bench, torch.device("cpu"))).model
    for layer in (module for module in model.modules() if isinstance(module, RoCoFTLayer)):
        own = [*layer.named_parameters(), *layer.named_buffers()]
        extra = sum(tensor.numel() for name, tensor in own if not name.startswith("base_layer."))
        assert extra <= 1.01 * 3 * (layer.in_features if mode == "row" else layer.out_features)


@pytest.mark.parametrize("mode", ["row", "column"])
def test_operations_of_a_layer(mode: str) -> None:
    """Beside a frozen one's: the gather of gradients or inputs, the thin product, and what autograd does for it. What
    all layers share, and the head, is paid once."""
    counts = {}
    for blocks in (1, 2):
        model = {**ROBERTA, "num_hidden_layers": blocks, "hidden_size": 48, "intermediate_size": 96}
        frozen, _ = counted(model, "sequence_classification", {"name": "frozen"})
        ours, _ = counted(model, "sequence_classification", {"name": "rocoft", "mode": mode})
        counts[blocks] = ours.operations - frozen.operations
    assert counts[2] - counts[1] <= 4 * 6
    assert counts[1] - (counts[2] - counts[1]) <= 8
