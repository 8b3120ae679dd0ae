from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from rocoft_bench import methods
from rocoft_bench.errors import UserError
from rocoft_bench.methods.dense import WITHOUT_BIASES
from rocoft_bench.models import AUTO_CLASSES, LINEAR_ROLES, paper_model
from rocoft_bench.models.shape_reading import shapes_of

CLASSIFY = "sequence_classification"


@pytest.mark.parametrize(
    ("alias", "kind", "linears", "everything"),
    [
        ("roberta-base", CLASSIFY, 82_944, 102_144),
        ("roberta-large", CLASSIFY, 221_184, 271_360),
        ("deberta-v3-base", "question_answering", 82_944, 102_912),
        ("bart-large", "seq2seq_lm", 270_336, 333_824),
    ],
)
def test_bitfit_counts(alias: str, kind: str, linears: int, everything: int) -> None:
    shapes = shapes_of(paper_model(alias, AUTO_CLASSES[kind]), has_head=kind != "seq2seq_lm")
    assert methods.resolve({"name": "bitfit"}).adapter_parameters(shapes) == linears
    assert methods.resolve({"name": "bitfit", "biases": "all"}).adapter_parameters(shapes) == everything


@pytest.mark.parametrize("model_type", ["bert", "roberta", "deberta-v2"])
def test_bitfit_trains_biases_and_the_head_only(model_type: str, make_model: Callable[..., Any]) -> None:
    plain = make_model(model_type, CLASSIFY)
    head = {name for name, _ in plain.named_parameters() if not name.startswith(f"{plain.base_model_prefix}.")}
    biases = {name for name, _ in plain.named_parameters() if name.endswith(".bias")} - head
    linears = {name for name in biases if ".layer." in name and "LayerNorm" not in name}
    assert len(linears) == 12
    for setting, expected in (("linears", linears), ("all", biases)):
        method = methods.resolve({"name": "bitfit", "biases": setting})
        model = method.apply(make_model(model_type, CLASSIFY), CLASSIFY, seed=0)
        assert {name for name, p in model.named_parameters() if p.requires_grad} - head == expected


def test_bitfit_counts_all_biases_as_it_trains_them(make_model: Callable[..., Any]) -> None:
    method = methods.resolve({"name": "bitfit", "biases": "all"})
    for model_type, kind in (("bert", CLASSIFY), ("bart", "seq2seq_lm"), ("gptj", "causal_lm")):
        shapes = shapes_of(make_model(model_type, kind), kind == CLASSIFY)
        model = method.apply(make_model(model_type, kind), kind, seed=0)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trained == method.adapter_parameters(shapes) + shapes.head


def test_bitfit_refuses_models_without_biases(make_model: Callable[..., Any]) -> None:
    method = methods.resolve({"name": "bitfit"})
    assert set(WITHOUT_BIASES) <= set(LINEAR_ROLES)
    for model_type in WITHOUT_BIASES:
        with pytest.raises(UserError, match=f"method bitfit: a {model_type} model has no biases to train"):
            method.check_supports("causal_lm", model_type)
    model = make_model("llama", "causal_lm")
    model.config.model_type = "nobody-knows"
    with pytest.raises(UserError, match="method bitfit: a nobody-knows model has no biases to train"):
        method.apply(model, "causal_lm", seed=0)


@pytest.mark.parametrize("model_type", WITHOUT_BIASES)
def test_bitfit_is_right_about_them(model_type: str) -> None:
    import transformers

    config = transformers.AutoConfig.for_model(model_type, num_hidden_layers=1, vocab_size=8)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    assert not [name for name, _ in model.named_parameters() if name.endswith(".bias")]
