"""Roles name real linear layers, and together all of a block's, in every architecture that has a layout."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from rocoft_bench.models import ENCODERS, LINEAR_ROLES, ROLES, model_type_of, target_pattern
from rocoft_bench.models.shape_reading import block_linears


def linears(model_type: str, **options: Any) -> list[str]:
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(model_type, **options))
    return [linear.name for linear in block_linears(model)]


GATED_T5 = {"feed_forward_proj": "gated-gelu"}


@pytest.mark.parametrize(("model_type", "options"), [*((name, {}) for name in LINEAR_ROLES), ("t5", GATED_T5)], ids=str)
def test_roles_cover_the_linear_layers_of_the_blocks(model_type: str, options: dict[str, Any]) -> None:
    names = linears(model_type, **options)
    covered: set[str] = set()
    for role in ROLES:
        found = {name for name in names if re.fullmatch(target_pattern([role], model_type), name)}
        if role != "ffn_gate":
            assert found, f"{model_type} has no {role}"
        fused = getattr(LINEAR_ROLES[model_type], role) == LINEAR_ROLES[model_type].query
        assert fused or not covered & found, f"{role} names what another role names"
        covered |= found
    assert covered == set(names)


def test_names_and_roles_mix_and_strings_are_expressions() -> None:
    pattern = target_pattern(["query", "intermediate.dense"], "roberta")
    block = "roberta.encoder.layer.3"
    assert re.fullmatch(pattern, f"{block}.attention.self.query")
    assert re.fullmatch(pattern, f"{block}.intermediate.dense")
    assert not re.fullmatch(pattern, f"{block}.output.dense")
    assert target_pattern(r".*\.fc1", "bart") == r".*\.fc1"


def test_output_layers_of_attention_and_feed_forward_part_are_told_apart() -> None:
    block = "bert.encoder.layer.3"
    assert re.fullmatch(target_pattern(["ffn_out"], "bert"), f"{block}.output.dense")
    assert not re.fullmatch(target_pattern(["ffn_out"], "bert"), f"{block}.attention.output.dense")
    assert not re.fullmatch(target_pattern(["attention_output"], "bert"), "classifier.dense")


def test_in_an_unknown_architecture_targets_are_names() -> None:
    assert re.fullmatch(target_pattern(["query"], "albert"), "albert.encoder.group.query")


def test_encoders_have_layouts() -> None:
    assert set(ENCODERS) <= set(LINEAR_ROLES)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("roberta-base", "roberta"), ("microsoft/deberta-v3-base", "deberta-v2"), ("demo-llama", "llama"), ("a/b", None)],
)
def test_the_architecture_of_a_known_model_is_known_without_loading_it(name: str, expected: str | None) -> None:
    assert model_type_of(name) == expected
