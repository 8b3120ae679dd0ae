"""What the configuration and the tuner refuse, and what they say."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, get_peft_model
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
        ({"probability": 0.2}, r"probability=0.2 has no meaning in mode 'row': set rank"),
        ({"mode": "column", "probability": 0.2}, r"probability=0.2 has no meaning in mode 'column': set rank"),
        ({"mode": "random", "rank": 4}, r"rank=4 has no meaning in mode 'random': set probability"),
        ({"mode": "random", "rank_pattern": {"fc1": 2}}, r"rank_pattern=.* has no meaning in mode 'random'"),
        ({"mode": "random", "selection": "random"}, r"selection='random' has no meaning in mode 'random'"),
        ({"layers_pattern": "h"}, r"`layers_to_transform` must also be specified"),
    ],
    ids=str,
)
def test_bad_values_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RoCoFTConfig(**settings)


def test_entries_are_another_name_of_mode_random() -> None:
    assert (
        RoCoFTConfig(mode="entries", probability=0.2).to_dict()
        == RoCoFTConfig(mode="random", probability=0.2).to_dict()
    )
    with pytest.raises(ValueError, match="rank=4 has no meaning in mode 'random'"):
        RoCoFTConfig(mode="entries", rank=4)


class Odd(nn.Module):
    """One layer of each of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.small = nn.Linear(2, 5)
        self.conv = nn.Conv1d(3, 3, 1)
        self.int8, self.float8 = nn.Linear(3, 3), nn.Linear(3, 3)
        self.int8.weight = nn.Parameter(torch.ones(3, 3, dtype=torch.int8), requires_grad=False)
        self.float8.weight = nn.Parameter(torch.ones(3, 3).to(torch.float8_e4m3fn), requires_grad=False)


@pytest.mark.parametrize("target", ["conv", "int8", "float8"])
def test_unsupported_layers(target: str) -> None:
    with pytest.raises(TypeError, match=f"Target module {target} "):
        get_peft_model(Odd(), RoCoFTConfig(target_modules=[target]))


@pytest.mark.parametrize("name", ["int8", "float8"])
def test_parameters_that_want_scales_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.weight is torch.{name}"):
        get_peft_model(Odd(), RoCoFTConfig(target_modules=[], target_parameters=[f"{name}.weight"]))


@pytest.mark.parametrize(("mode", "size"), [("row", 5), ("column", 2)])
def test_rank_above_the_dimension_is_clipped(mode: str, size: int) -> None:
    with pytest.warns(UserWarning, match=f"small: rank 9 is above its {size} {mode}s; all {size} are trained"):
        model = get_peft_model(Odd(), RoCoFTConfig(rank=9, mode=mode, target_modules=["small"]))
    assert model.base_model.model.small.entries("default").weight.numel() == 10


def test_no_blocks_and_no_targets() -> None:
    with pytest.raises(ValueError, match="Please specify `target_modules`"):
        get_peft_model(Odd(), RoCoFTConfig())


def test_rank_pattern() -> None:
    config = RoCoFTConfig(rank=2, rank_pattern={"small": 4}, target_modules=["small"])
    assert get_peft_model(Odd(), config).base_model.model.small.entries("default").weight.shape == (4, 2)


@pytest.mark.parametrize("name", ["target_modules", "exclude_modules", "layers_pattern", "modules_to_save"])
@pytest.mark.parametrize("pattern", ["(", "*", "[a"])
def test_what_is_no_regular_expression(name: str, pattern: str) -> None:
    value: Any = pattern if name in ("target_modules", "exclude_modules") else [pattern]
    with pytest.raises(ValueError, match=rf"{name}='{re.escape(pattern)}' is not a regular expression: "):
        RoCoFTConfig(**{name: value}, **({"layers_to_transform": [0]} if name == "layers_pattern" else {}))
    with pytest.raises(ValueError, match=r"rank_pattern='\(' is not a regular expression"):
        RoCoFTConfig(rank_pattern={"(": 2})


def test_a_target_that_no_module_has() -> None:
    model = Odd()
    with pytest.raises(ValueError, match=r"no module is named smal, weight; the nearest names are small"):
        get_peft_model(model, RoCoFTConfig(target_modules=["small", "smal", "weight"]))
    assert isinstance(model.small, nn.Linear)
    get_peft_model(model, RoCoFTConfig(rank=2, target_modules=["small"]))


def test_what_a_mode_ignores_is_refused_but_loaded(tmp_path: Path) -> None:
    """Earlier versions saved such settings."""
    config = RoCoFTConfig(mode="random", probability=0.5)
    config.save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    saved = json.loads(file.read_text()) | {"rank": 7, "selection": "max", "calibrated": True}
    file.write_text(json.dumps(saved))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded: Any = PeftConfig.from_pretrained(tmp_path)
    assert (loaded.mode, loaded.probability) == ("random", 0.5)
    assert not loaded.is_scored


def test_equal_configurations_are_equal_files(tmp_path: Path) -> None:
    names = [f"layer{i}" for i in range(50)]
    for folder, targets in (("a", names), ("b", names[::-1])):
        RoCoFTConfig(target_modules=targets, exclude_modules=targets[:9]).save_pretrained(tmp_path / folder)
    saved = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert saved["target_modules"] == sorted(names)
    assert saved["exclude_modules"] == sorted(saved["exclude_modules"])
