"""A damaged folder of a model is one line that names what is wrong; nothing hangs, and the memory is not filled."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import models
from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError

ROBERTA, LLAMA = "FacebookAI/roberta-base", "meta-llama/Llama-2-7b-hf"
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
FIELDS: list[tuple[str, Any]] = [
    *(("model_type", value) for value in (None, 5, [], "nonsense")),
    *(("hidden_size", value) for value in (0, -1, None, "x", [], 17, 10**9, 10**30)),
    *(("num_hidden_layers", value) for value in (-1, 0, None, "x", 10**9)),
    *(("num_attention_heads", value) for value in (0, None, {})),
    *(("vocab_size", value) for value in (0, -5, None, 10**12)),
    *(("max_position_embeddings", value) for value in (0, "x", [], 10**12)),
    *(("hidden_act", value) for value in (None, "nonsense", 3)),
    *(("id2label", value) for value in ([], 7, "x")),
]


def load(folder: Path, kind: str = "sequence_classification") -> models.Loaded:
    config = ModelConfig(name=str(folder))
    return models.load(models.locate(config), config, kind, {"num_labels": 2})


def refused(folder: Path, kind: str = "sequence_classification") -> str:
    with pytest.raises(UserError) as caught:
        load(folder, kind)
    (line,) = str(caught.value).splitlines()
    assert str(folder) in line
    return line


@pytest.fixture
def saved(tiny_of: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_of(ROBERTA), tmp_path / "model"))


@pytest.mark.parametrize("name", FILES)
def test_pipes_devices_and_folders_in_place_of_files(name: str, saved: Path) -> None:
    file = saved / name
    file.unlink()
    os.mkfifo(file)
    line = refused(saved)
    assert name in line or "holds no config.json" in line
    file.unlink()
    file.symlink_to("/dev/zero")
    refused(saved)
    file.unlink()
    file.mkdir()
    refused(saved)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"5", b'"x"', b"{", b"\xff\xfe\x00", b"[" * 10**5])
@pytest.mark.parametrize("name", FILES)
def test_damaged_files(name: str, content: bytes, saved: Path) -> None:
    (saved / name).write_bytes(content)
    refused(saved)


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_fields_of_wrong_types_and_sizes(field: str, value: Any, saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {field: value}))
    refused(saved)


@pytest.mark.parametrize("value", ["x", -1, 0, None, [], float("nan")])
def test_a_tokenizers_limit_that_is_none(value: Any, saved: Path) -> None:
    config = json.loads((saved / "tokenizer_config.json").read_text())
    (saved / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": value}))
    if value is None:
        assert models.limits(*load(saved)[:2])[0] == 512
    else:
        assert "its tokenizer cannot be loaded" in refused(saved)


def test_a_model_too_large_for_its_weights(tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_of(LLAMA), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 10**7}))
    assert "values, but the weights are" in refused(folder, "causal_lm")
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**7}))
    assert "num_hidden_layers = 10000000, but the weights are 21 tensors" in refused(folder, "causal_lm")
