"""Models on the hub whose commit has no safetensors weights: the hub's conversion of them is loaded, or none."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fake_hub import Pull

DEBERTA, GPTJ, OTHER = "microsoft/deberta-v3-base", "EleutherAI/gpt-j-6b", "0" * 40
SETUP = """
from rocoft_bench import models
from rocoft_bench.config import ModelConfig
from rocoft_bench.hub import no_network
def load(kind, name, **where):
    config = ModelConfig(name=name, **where)
    source = models.locate(config)
    model, tokenizer = models.load(source, config, kind, {})
    assert tokenizer("a cat").input_ids
    weight = model.get_input_embeddings().weight[3].tolist()
    temperature = model.generation_config.temperature if kind == "causal_lm" else None
    return weight, source.origin(model.config), model.name_or_path, temperature
"""


def checkpoint(folder: Path) -> dict[str, bytes]:
    """The files of a saved model, its weights in PyTorch's format."""
    import torch
    from safetensors.torch import load

    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    buffer = io.BytesIO()
    torch.save(load(files.pop("model.safetensors")), buffer)
    return {**files, "pytorch_model.bin": buffer.getvalue()}


def weights(model: Path, saved: Path, size: str, factor: float = 1.0) -> dict[str, bytes]:
    """The weights of a saved model, multiplied, in safetensors files of a size."""
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import load_file

    tensors = {name: tensor * factor for name, tensor in load_file(model / "model.safetensors").items()}
    saved.mkdir()
    save_torch_state_dict(tensors, saved, max_shard_size=size)
    return {file.name: file.read_bytes() for file in saved.iterdir()}


def embedding(model: Path) -> list[float]:
    from safetensors.torch import load_file

    (table,) = (
        tensor
        for name, tensor in load_file(model / "model.safetensors").items()
        if name.endswith(("word_embeddings.weight", "wte.weight"))
    )
    return table[3].tolist()


@pytest.mark.parametrize(
    ("hub_id", "kind", "size"), [(DEBERTA, "question_answering", "1GB"), (GPTJ, "causal_lm", "10KB")]
)
def test_the_conversion_of_the_pinned_commit_is_loaded(
    hub: Any, python: Any, tiny_of: Callable[[str], Path], tmp_path: Path, hub_id: str, kind: str, size: str
) -> None:
    there = checkpoint(tiny_of(hub_id))
    there["generation_config.json"] = b'{"temperature": 0.75}'
    right = {**there, **weights(tiny_of(hub_id), tmp_path / "right", size)}
    wrong = {**there, **weights(tiny_of(hub_id), tmp_path / "wrong", size, 2.0)}
    hub.models[hub_id] = there
    hub.pulls[hub_id] = [
        Pull(9, {**wrong, "pytorch_model.bin": b"later weights"}, "9" * 40),
        Pull(8, wrong, "8" * 40, author="somebody"),
        Pull(7, wrong, "7" * 40, title="Better weights"),
        Pull(6, wrong, "6" * 40, status="closed"),
        Pull(5, right, "5" * 40),
    ]
    asked = f'load("{kind}", "{hub_id}", revision="{hub.revision}")'
    first, again = python(f"{SETUP}\nfirst = {asked}\nwith no_network():\n    show([first, {asked}])", hub.url)
    assert first == again
    weight, origin, name, temperature = first
    assert weight == embedding(tiny_of(hub_id))
    assert origin == {"kind": "hub", "id": hub_id, "revision": hub.revision, "weights_revision": "5" * 40}
    assert name == hub_id
    assert temperature == (0.75 if kind == "causal_lm" else None)
    from_pull = {line.rpartition("/")[2] for line in hub.log if line.startswith("GET") and "/resolve/5555" in line}
    assert from_pull == set(right) - set(there)
    assert len(from_pull) == 1 if hub_id == DEBERTA else len(from_pull) > 2


def test_without_conversion_the_way_to_a_copy_is_given(
    hub: Any, python: Any, tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    hub.models[GPTJ] = checkpoint(tiny_of(GPTJ))
    code = f"""
import os
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"
problem = failure(lambda: load("causal_lm", "{GPTJ}", revision="{hub.revision}"))
lines = problem.rpartition(": ")[2].replace("DIR", "{tmp_path / "copy"}")
exec(lines.replace("AutoModel", "AutoModelForCausalLM"))
show([problem, *load("causal_lm", "{tmp_path / "copy"}")])
"""
    problem, weight, origin, *_ = python(SETUP + code, hub.url)
    assert problem.startswith(f"model {GPTJ} @ {hub.revision[:10]}: its weights are not in safetensors")
    for way in ("--set model.revision=COMMIT", "--model DIR"):
        assert way in problem
    assert len(problem.splitlines()) == 1
    assert weight == embedding(tiny_of(GPTJ))
    assert origin["kind"] == "folder"


def test_weights_of_the_commit_itself_come_before_a_conversion(
    hub: Any, python: Any, tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    there = checkpoint(tiny_of(DEBERTA))
    own = weights(tiny_of(DEBERTA), tmp_path / "own", "1GB")
    hub.models[DEBERTA] = {**there, **own}
    hub.pulls[DEBERTA] = [Pull(1, {**there, **weights(tiny_of(DEBERTA), tmp_path / "other", "1GB", 2.0)}, "1" * 40)]
    code = f"""
from huggingface_hub import snapshot_download
snapshot_download("{DEBERTA}", revision="refs/pr/1")
show(load("question_answering", "{DEBERTA}", revision="{hub.revision}"))
"""
    weight, origin, *_ = python(SETUP + code, hub.url)
    assert weight == embedding(tiny_of(DEBERTA))
    assert "weights_revision" not in origin
