"""What the configuration and the tuner refuse, and what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model
from torch import nn

from rocoft_bench import RoCoFTConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mode": "rows"}, r"mode='rows' is not one of row, column, random"),
        ({"selection": "top"}, r"selection='top' is not one of first, random, max, min, mixed"),
        ({"rank": 0}, r"rank=0 is not a positive integer"),
        ({"rank": 1.5}, r"rank=1.5 is not a positive integer"),
        ({"rank": True}, r"rank=True is not a positive integer"),
        ({"rank_pattern": {"fc1": -1}}, r"rank_pattern\['fc1'\]=-1 is not a positive integer"),
        ({"probability": 0.0}, r"probability=0.0 is outside \(0, 1\]"),
        ({"probability": 1.1}, r"probability=1.1 is outside \(0, 1\]"),
        ({"probability": float("nan")}, r"probability=nan is outside \(0, 1\]"),
        ({"target_modules": "a.*", "layers_to_transform": [0]}, r"`layers_to_transform` cannot be used"),
        ({"target_modules": "a.*", "layers_pattern": "h"}, r"`layers_pattern` cannot be used"),
        ({"layers_pattern": "h"}, r"`layers_to_transform` must also be specified"),
    ],
    ids=str,
)
def test_bad_values_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoCoFTConfig(**settings)


class Odd(nn.Module):
    """One layer of each of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.Linear(2, 5)
        self.conv = nn.Conv1d(3, 3, 1)
        self.quantised = nn.Linear(3, 3)
        self.quantised.weight = nn.Parameter(torch.ones(3, 3, dtype=torch.int8), requires_grad=False)


@pytest.mark.parametrize("target", ["conv", "quantised"])
def test_unsupported_layers(target: str) -> None:
    with pytest.raises(TypeError, match=f"Target module {target} "):
        get_peft_model(Odd(), RoCoFTConfig(target_modules=[target]))


@pytest.mark.parametrize(("mode", "size"), [("row", 5), ("column", 2)])
def test_rank_above_the_dimension_is_clipped(mode: str, size: int) -> None:
    with pytest.warns(UserWarning, match=f"small: rank 9 is above its {size} {mode}s; all {size} are trained"):
        model = get_peft_model(Odd(), RoCoFTConfig(rank=9, mode=mode, target_modules=["small"]))
    assert model.base_model.model.small.rocoft_weight["default"].numel() == 10


def test_no_blocks_and_no_targets() -> None:
    with pytest.raises(ValueError, match="Please specify `target_modules`"):
        get_peft_model(Odd(), RoCoFTConfig())


def test_rank_pattern() -> None:
    config = RoCoFTConfig(rank=2, rank_pattern={"small": 4}, target_modules=["small"])
    assert get_peft_model(Odd(), config).base_model.model.small.rocoft_weight["default"].shape == (4, 2)
