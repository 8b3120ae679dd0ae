"""Models on the hub whose commit has no safetensors weights: the hub's conversion of them is loaded, or none."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.models.weights import conversion
from tests.fake_hub import Pull

DEBERTA, GPTJ = "microsoft/deberta-v3-base", "EleutherAI/gpt-j-6b"
SETUP = """
from rocoft_bench import models
from rocoft_bench.config import ModelConfig
from rocoft_bench.models.hub import no_network
def load(kind, name, **where):
    config = ModelConfig(name=name, **where)
    source = models.locate(config)
    model, tokenizer, notes = models.load(source, config, kind, {})
    assert tokenizer("a cat").input_ids
    weight = model.get_input_embeddings().weight[3].tolist()
    temperature = model.generation_config.temperature if kind == "causal_lm" else None
    return weight, source.origin(model.config), notes, model.name_or_path, temperature
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


def test_the_conversion_of_the_pinned_commit_is_loaded(
    hub: Any, python: Any, tiny_of: Callable[[str], Path], tmp_path: Path
) -> None:
    loads, new = [], {}
    for hub_id, kind, size in ((DEBERTA, "question_answering", "1GB"), (GPTJ, "causal_lm", "10KB")):
        there = {**checkpoint(tiny_of(hub_id)), "generation_config.json": b'{"temperature": 0.75}'}
        right = {**there, **weights(tiny_of(hub_id), tmp_path / kind, size)}
        wrong = {**there, **weights(tiny_of(hub_id), tmp_path / f"{kind}-wrong", size, 2.0)}
        hub.models[hub_id] = there
        hub.pulls[hub_id] = [
            Pull(9, {**wrong, "pytorch_model.bin": b"later weights"}, "9" * 40),
            Pull(8, wrong, "8" * 40, author="somebody"),
            Pull(7, wrong, "7" * 40, title="Better weights"),
            Pull(6, wrong, "6" * 40, status="closed"),
            Pull(5, right, "5" * 40),
        ]
        loads.append(f'load("{kind}", "{hub_id}", revision="{hub.revision}")')
        new[hub_id] = set(right) - set(there)
    both = f"[{', '.join(loads)}]"
    first, again = python(f"{SETUP}\nfirst = {both}\nwith no_network():\n    show([first, {both}])", hub.url)
    assert first == again
    for hub_id, (weight, origin, notes, name, temperature) in zip((DEBERTA, GPTJ), first, strict=True):
        assert weight == embedding(tiny_of(hub_id))
        assert origin == {"kind": "hub", "id": hub_id, "revision": hub.revision, "weights_revision": "5" * 40}
        assert len(notes) == 1
        assert (name, temperature) == (hub_id, 0.75 if hub_id == GPTJ else None)
        assert from_pull(hub, hub_id) == new[hub_id]
    assert len(new[DEBERTA]) == 1
    assert len(new[GPTJ]) > 2


def from_pull(hub: Any, hub_id: str) -> set[str]:
    asked = (line for line in hub.log if line.startswith(f"GET /{hub_id}/resolve/5555"))
    return {line.rpartition("/")[2] for line in asked}


def test_other_weights_than_a_conversion(hub: Any, python: Any, tiny_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Of two models one has safetensors weights at the commit itself; of the other there are none at all."""
    there = checkpoint(tiny_of(DEBERTA))
    hub.models = {
        DEBERTA: {**there, **weights(tiny_of(DEBERTA), tmp_path / "own", "1GB")},
        GPTJ: checkpoint(tiny_of(GPTJ)),
    }
    hub.pulls[DEBERTA] = [Pull(1, {**there, **weights(tiny_of(DEBERTA), tmp_path / "other", "1GB", 2.0)}, "1" * 40)]
    code = f"""
import os
from huggingface_hub import snapshot_download
snapshot_download("{DEBERTA}", revision="refs/pr/1")
own = load("question_answering", "{DEBERTA}", revision="{hub.revision}")
os.environ["DISABLE_SAFETENSORS_CONVERSION"] = "1"  # the library would ask the bot
problem = failure(lambda: load("causal_lm", "{GPTJ}", revision="{hub.revision}"))
lines = problem.rpartition(": ")[2].replace("DIR", "{tmp_path / "copy"}")
exec(lines.replace("AutoModel", "AutoModelForCausalLM"))
show([own, problem, load("causal_lm", "{tmp_path / "copy"}")])
"""
    own, problem, copy = python(SETUP + code, hub.url)
    assert own[:2] == [embedding(tiny_of(DEBERTA)), {"kind": "hub", "id": DEBERTA, "revision": hub.revision}]
    assert problem.startswith(f"model {GPTJ} @ {hub.revision[:10]}: its weights are not in safetensors")
    for way in ("--set model.revision=COMMIT", "--model DIR"):
        assert way in problem
    assert len(problem.splitlines()) == 1
    assert copy[0] == embedding(tiny_of(GPTJ))
    assert (copy[1]["kind"], copy[2]) == ("folder", [])


def test_the_cache_is_believed_where_it_holds_one_conversion(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    def ask(hub_id: str, revision: str) -> str:
        raise UserError("asked the hub")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("rocoft_bench.models.weights.find_on_hub", ask)
    cache, pinned = tmp_path / "models--owner--name", "0" * 40
    for name in ("model.safetensors", "model.safetensors.index.json"):
        put(cache / ".no_exist" / pinned / name)
    for number in (1, 2, 3):
        put(cache / "refs" / "refs" / "pr" / str(number), str(number) * 40)
    put(cache / "snapshots" / ("1" * 40) / "config.json")
    put(cache / "snapshots" / ("2" * 40) / "model.safetensors")
    found = conversion("owner/name", pinned)
    assert found is not None
    assert (found.ref, found.revision) == ("refs/pr/2", "2" * 40)
    put(cache / "snapshots" / ("3" * 40) / "model.safetensors")
    with pytest.raises(UserError, match="asked the hub"):
        conversion("owner/name", pinned)


def put(file: Path, content: str = "") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
