"""Damaged, incomplete or foreign trained values are never taken for whole, whatever the method."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rocoft_bench import methods
from rocoft_bench.errors import UserError

KIND = "sequence_classification"
METHODS = ["rocoft", "lora", "ia3", "bitfit", "prompt-tuning", "sft"]
"""By peft with and without layers of its own, and written here."""


def renamed(tensors: dict[str, Any], key: str) -> None:
    tensors[key.replace("layer", "player").replace("prompt", "prompts") + ".x"] = tensors.pop(key)


def without(tensors: dict[str, Any], key: str) -> None:
    del tensors[key]


def not_a_number(tensors: dict[str, Any], key: str) -> None:
    tensors[key] = torch.full_like(tensors[key], torch.nan)


def of_another_shape(tensors: dict[str, Any], key: str) -> None:
    tensors[key] = torch.cat([tensors[key]] * 2, -1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    folder = tmp_path_factory.mktemp("saved")

    def save(name: str, method: methods.Method, model: Any) -> Path:
        if not (folder / name).exists():
            method.save(method.apply(model, KIND, seed=0), folder / name)
        return folder / name

    return save


@pytest.mark.parametrize("damage", [renamed, without, not_a_number, of_another_shape])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("part", ["head", "adapter"])
def test_a_tensor_that_is_not_as_it_was_is_named(
    name: str, part: str, damage: Callable[..., None], saved: Callable[..., Path], make_model: Callable[..., Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    method = methods.resolve({"name": name})
    file = next(saved(name, method, make_model("roberta", KIND)).glob("*.safetensors"))
    tensors = load_file(file)
    named = [key for key, value in tensors.items() if value.is_floating_point()]
    key = next(key for key in named if ("classifier" in key) is (part == "head"))
    damage(tensors, key)
    for other in file.parent.iterdir():
        (tmp_path / other.name).write_bytes(other.read_bytes())
    save_file(tensors, tmp_path / file.name)
    with pytest.raises(UserError) as caught:
        method.load(make_model("roberta", KIND), tmp_path, KIND)
    assert str(caught.value).startswith(str(tmp_path / file.name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"garbage" * 9, b"\x10\0\0\0\0\0\0\0{}", None])
@pytest.mark.parametrize("name", ["lora", "bitfit"])
def test_a_file_that_is_not_whole_is_named(
    name: str, content: bytes | None, saved: Callable[..., Path], make_model: Callable[..., Any], tmp_path: Path
) -> None:
    method = methods.resolve({"name": name})
    for file in saved(name, method, make_model("roberta", KIND)).iterdir():
        whole = file.read_bytes()
        damaged = file.suffix == ".safetensors"
        (tmp_path / file.name).write_bytes((whole[:-9] if content is None else content) if damaged else whole)
    with pytest.raises(UserError, match=r"\.safetensors: not a whole safetensors file"):
        method.load(make_model("roberta", KIND), tmp_path, KIND)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"r": 10**9}, "r is 1000000000, and the run's settings make it 8"),
        ({"r": None}, "r is None"),
        ([], "list in place of an object"),
        ("{", "not valid JSON"),
    ],
)
def test_a_configuration_of_another_adapter_is_named(
    change: Any, said: str, saved: Callable[..., Path], make_model: Callable[..., Any], tmp_path: Path
) -> None:
    method = methods.resolve({"name": "lora"})
    for file in saved("lora", method, make_model("roberta", KIND)).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "adapter_config.json"
    text = json.dumps({**json.loads(config.read_text()), **change} if isinstance(change, dict) else change)
    config.write_text(change if isinstance(change, str) else text)
    with pytest.raises(UserError, match=said) as caught:
        method.load(make_model("roberta", KIND), tmp_path, KIND)
    assert str(caught.value).startswith(str(config))
