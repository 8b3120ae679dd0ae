"""Models on the hub with a damaged file: one line that names the model, and no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fake_hub import Hub

LOAD = """
from rocoft_bench import models
from rocoft_bench.config import ModelConfig
def load(name):
    config = ModelConfig(name=f"made/{name}")
    models.load(models.locate(config), config, "sequence_classification", {"num_labels": 2})
"""
INDEX = "model.safetensors.index.json"


def damages(config: dict[str, Any]) -> dict[str, dict[str, bytes | None]]:
    """Files that take the place of a whole model's, or are left out."""
    return {
        "config-list": {"config.json": b"[]"},
        "config-null": {"config.json": b"null"},
        "config-type": {"config.json": json.dumps({**config, "hidden_size": "x"}).encode()},
        "tokenizer": {"tokenizer.json": b"[]"},
        "tokenizer-config": {"tokenizer_config.json": b"[]"},
        "no-tokenizer": {"tokenizer.json": None, "tokenizer_config.json": None},
        "weights": {"model.safetensors": b"<html>"},
        "index-list": {"model.safetensors": None, INDEX: b"[]"},
        "index-number": {"model.safetensors": None, INDEX: b'{"weight_map": 5}'},
    }


def test_each_is_one_line(hub: Hub, python: Callable[..., Any], tiny_model: Path) -> None:
    whole = {file.name: file.read_bytes() for file in tiny_model.iterdir()}
    hub.revision = "main"
    cases = damages(json.loads(whole["config.json"]))
    for name, changed in cases.items():
        files = {**whole, **changed}
        hub.models[f"made/{name}"] = {file: content for file, content in files.items() if content is not None}
    told = python(f"{LOAD}\nshow([failure(lambda: load(name)) for name in {list(cases)}])", hub.url)
    for name, message in zip(cases, told, strict=True):
        assert f"made/{name}" in message
        assert "\n" not in message
