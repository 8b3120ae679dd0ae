"""Merging, unmerging and several adapters at once."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rocoft_bench import RoCoFTConfig, RoCoFTLayer, calibrate


def base_tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if "base_layer" in name}


def assert_untouched(model: nn.Module, before: dict[str, Tensor]) -> None:
    for name, value in base_tensors(model).items():
        assert torch.equal(value, before[name])


def first_layer(model: nn.Module) -> RoCoFTLayer:
    return next(m for m in model.modules() if isinstance(m, RoCoFTLayer))


@pytest.mark.parametrize("safe", [False, True])
def test_merge_and_exact_unmerge(build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any, safe: bool) -> None:
    model, batch = wrap(build(), mode=mode, train_bias=True).eval(), make_batch(0)
    scramble(model)
    before, expected = base_tensors(model), model(**batch).logits
    model.merge_adapter(safe_merge=safe)
    torch.testing.assert_close(model(**batch).logits, expected)
    assert torch.equal(first_layer(model)._read("default"), first_layer(model).entries("default").weight)
    model.unmerge_adapter()
    assert_untouched(model, before)
    assert torch.equal(model(**batch).logits, expected)
    merged = model.merge_and_unload()
    assert not any(isinstance(m, RoCoFTLayer) for m in merged.modules())
    torch.testing.assert_close(merged(**batch).logits, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_unmerge_is_exact_in_half_precision(
    build: Any, wrap: Any, mode: str, scramble: Any, dtype: torch.dtype
) -> None:
    model = wrap(build().to(dtype), mode=mode)
    scramble(model)
    before = base_tensors(model)
    model.merge_adapter()
    assert any(not torch.equal(value, before[name]) for name, value in base_tensors(model).items())
    model.unmerge_adapter()
    assert_untouched(model, before)


def test_disabling_gives_the_base_model(build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any) -> None:
    batch = make_batch(0)
    expected = build().eval()(**batch).logits
    model = wrap(build(), mode=mode, train_bias=True).eval()
    scramble(model)
    for merged in (False, True):
        if merged:
            model.merge_adapter()
        with model.disable_adapter():
            assert torch.equal(model(**batch).logits, expected)
        assert not torch.equal(model(**batch).logits, expected)


def test_overlapping_adapters_add_up(build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any) -> None:
    """W0 + sum of changes: in one forward pass, merged together, and merged one after the other."""
    model, batch = wrap(build(), mode=mode, train_bias=True, task_type=None).eval(), make_batch(0)
    model.add_adapter("other", RoCoFTConfig(mode="column", rank=3, train_bias=True))
    model.base_model.set_adapter(["default", "other"])
    scramble(model)
    before, both = base_tensors(model), model(**batch).logits
    for steps in ([["default", "other"]], [["other"], ["default"]]):
        for names in steps:
            model.merge_adapter(names)
        torch.testing.assert_close(model(**batch).logits, both, atol=1e-5, rtol=1e-5)
        with torch.inference_mode():
            model.unmerge_adapter()
        assert_untouched(model, before)


@pytest.mark.parametrize("part", ["weight", "bias"])
def test_safe_merge_refuses_what_is_not_finite(build: Any, wrap: Any, mode: str, scramble: Any, part: str) -> None:
    model = wrap(build(), mode=mode, train_bias=True)
    model.add_adapter("broken", RoCoFTConfig(mode=mode, train_bias=True))
    scramble(model)
    model.merge_adapter()
    before, layer = base_tensors(model), first_layer(model)
    getattr(layer.entries("broken"), part).data[-1] = torch.inf
    with pytest.raises(ValueError, match="The adapter broken seems to be broken"):
        model.merge_adapter(["broken"], safe_merge=True)
    assert_untouched(model, before)
    assert layer.merged_adapters == ["default"]


def test_loading_while_merged_does_not_damage_the_base(build: Any, wrap: Any, mode: str, scramble: Any) -> None:
    other_choice = {} if mode == "random" else {"selection": "random"}
    model, other = wrap(build(), mode=mode), wrap(build(), mode=mode, seed=5, **other_choice)
    before = base_tensors(model)
    scramble(model)
    model.merge_adapter()
    first_layer(model).entries("default").indices.copy_(first_layer(other).entries("default").indices)
    model.unmerge_adapter()
    assert_untouched(model, before)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("merged", [False, True])
def test_copies_are_independent(
    build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any, clone: Any, merged: bool
) -> None:
    model, batch = wrap(build(), mode=mode).eval(), make_batch(0)
    scramble(model)
    before = base_tensors(model)
    if merged:
        model.merge_adapter()
    twin, expected = clone(model), model(**batch).logits
    assert torch.equal(twin(**batch).logits, expected)
    scramble(twin)
    if merged:
        twin.unmerge_adapter()
        assert_untouched(twin, before)
    assert torch.equal(model(**batch).logits, expected)


@pytest.mark.parametrize("second", ["row", "column", "random"])
def test_an_adapter_added_while_another_is_merged(
    build: Any, wrap: Any, mode: str, second: str, make_batch: Any, scramble: Any
) -> None:
    """It starts from the pretrained values. (PEFT unmerges, with a warning, when it is in place.)"""
    model, batch, base = wrap(build(), mode=mode, train_bias=True, task_type=None).eval(), make_batch(0), build().eval()
    scramble(model)
    trained, before = model(**batch).logits, base_tensors(model)
    model.merge_adapter()
    with pytest.warns(UserWarning, match="Unmerging the model first"):
        model.add_adapter("other", RoCoFTConfig(mode=second, train_bias=True))
    assert_untouched(model, before)
    assert torch.equal(model(**batch).logits, trained)
    model.set_adapter("other")
    torch.testing.assert_close(model(**batch).logits, base(**batch).logits)


def test_calibration_sees_the_frozen_model_and_leaves_others_merged(
    build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any
) -> None:
    batch, alone = make_batch(0), wrap(build(), selection="max", task_type=None)
    calibrate(alone, [batch])
    model = wrap(build(), mode=mode, train_bias=True, task_type=None).eval()
    model.add_adapter("other", RoCoFTConfig(rank=2, selection="max"))
    scramble(model)
    model.merge_adapter()
    merged = base_tensors(model)
    calibrate(model, [batch], "other")
    assert_untouched(model, merged)
    assert first_layer(model).merged_adapters == ["default"]
    ours, expected = ([m for m in peft_model.modules() if isinstance(m, RoCoFTLayer)] for peft_model in (model, alone))
    for layer, other in zip(ours, expected, strict=True):
        assert torch.equal(layer.entries("other").indices, other.entries("default").indices)
        assert torch.equal(layer.entries("other").weight, other.entries("default").weight)
