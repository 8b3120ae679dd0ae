"""Saving and loading: exact logits in a new process, through PEFT, its auto classes and transformers."""

from __future__ import annotations

import json
import warnings
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AutoPeftModelForSequenceClassification,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from rocoft_bench import RoCoFTConfig, RoCoFTLayer, calibrate
from rocoft_bench.tuner.entries import INDEX_NAMES
from tests import preloaded

RELOAD = """
import sys
from pathlib import Path
import torch
import rocoft_bench
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

for folder in map(Path, sys.argv[1:]):
    base = AutoModelForSequenceClassification.from_pretrained(folder / "base", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, folder / "adapter").eval()
    saved = torch.load(folder / "saved.pt")
    assert torch.equal(model(**saved["batch"]).logits, saved["logits"]), folder
"""


def test_a_new_process_computes_the_same_logits(
    both_builds: Any, wrap: Any, make_batch: Any, scramble: Any, tmp_path: Path
) -> None:
    batch, folders = make_batch(0), []
    for (name, build), mode in product(both_builds.items(), ("row", "column", "random")):
        folder, base = tmp_path / name / mode, build()
        base.save_pretrained(folder / "base")
        scored = {} if mode == "random" else {"selection": "max"}
        model = wrap(base, mode=mode, train_bias=True, **scored).eval()
        if mode != "random":
            calibrate(model, [batch])
        scramble(model)
        model.save_pretrained(folder / "adapter")
        torch.save({"batch": batch, "logits": model(**batch).logits.detach()}, folder / "saved.pt")
        folders.append(str(folder))
    loaded = preloaded.run(RELOAD, *folders)
    assert loaded.code == 0, loaded.err


def test_indices_come_from_the_file(build: Any, wrap: Any, make_batch: Any, scramble: Any, tmp_path: Path) -> None:
    """A scored selection cannot be made again from the configuration; nor can another seed's."""
    batch = make_batch(0)
    model = wrap(build(), selection="mixed").eval()
    calibrate(model, [batch])
    scramble(model)
    model.save_pretrained(tmp_path)
    for low_cpu in (False, True):
        loaded = PeftModel.from_pretrained(build(), tmp_path, low_cpu_mem_usage=low_cpu).eval()
        assert torch.equal(loaded(**batch).logits, model(**batch).logits)
    state = get_peft_model_state_dict(model)
    other = wrap(build(), selection="random", seed=3).eval()
    result = set_peft_model_state_dict(other, state)
    assert not result.unexpected_keys
    assert torch.equal(other(**batch).logits, model(**batch).logits)


def test_transformers_and_auto_classes(
    build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any, tmp_path: Path
) -> None:
    batch, base = make_batch(0), build()
    base.save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", dtype=torch.float32)
    model = wrap(base, mode=mode, **({} if mode == "random" else {"selection": "max"})).eval()
    if mode != "random":
        calibrate(model, [batch])
    scramble(model)
    model.save_pretrained(tmp_path / "adapter")
    expected = model(**batch).logits

    auto = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter", dtype=torch.float32).eval()
    assert torch.equal(auto(**batch).logits, expected)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", dtype=torch.float32).eval()
    plain.load_adapter(str(tmp_path / "adapter"))
    assert torch.equal(plain(**batch).logits, expected)
    plain.disable_adapters()
    assert torch.equal(plain(**batch).logits, build().eval()(**batch).logits)


def test_transformers_add_adapter(build: Any, mode: str, make_batch: Any) -> None:
    model = build().eval()
    expected = model(**make_batch(0)).logits
    model.add_adapter(RoCoFTConfig(mode=mode))
    torch.testing.assert_close(model(**make_batch(0)).logits, expected)
    assert any(isinstance(m, RoCoFTLayer) for m in model.modules())


@pytest.mark.parametrize("low_cpu", [False, True])
def test_injection(build: Any, mode: str, make_batch: Any, low_cpu: bool) -> None:
    plain, config = build().eval(), RoCoFTConfig(mode=mode, train_bias=True, init_weights=False)
    source = inject_adapter_in_model(config, build()).eval()
    state = get_peft_model_state_dict(source)
    target = inject_adapter_in_model(config, build(), state_dict=state, low_cpu_mem_usage=low_cpu).eval()
    set_peft_model_state_dict(target, state, low_cpu_mem_usage=low_cpu)
    logits = target(**make_batch(0)).logits
    assert torch.equal(logits, source(**make_batch(0)).logits)
    assert not torch.allclose(logits, plain(**make_batch(0)).logits)


def test_files_of_earlier_versions(
    build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any, tmp_path: Path
) -> None:
    """They have other keys, none of which names the mode, and say in their configuration that they are calibrated."""
    scored = {} if mode == "random" else {"selection": "max"}
    model, batch = wrap(build(), mode=mode, train_bias=True, **scored).eval(), make_batch(0)
    if scored:
        calibrate(model, [batch])
    scramble(model)
    model.save_pretrained(tmp_path)
    weights, config = tmp_path / "adapter_model.safetensors", tmp_path / "adapter_config.json"
    old_parts = {"weight": "weight", "bias": "bias", INDEX_NAMES[mode]: "indices"}
    old = {}
    for key, value in load_file(weights).items():
        layer, adapter, part = key.partition(".rocoft_adapter.")
        old[f"{layer}.rocoft_{old_parts[part]}" if adapter else key] = value
    assert any(key.endswith(".rocoft_indices") for key in old)
    save_file(old, weights, {"format": "pt"})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"calibrated": bool(scored)}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = PeftModel.from_pretrained(build(), tmp_path).eval()
    assert torch.equal(loaded(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("other", ["row", "column", "random"])
def test_the_mode_is_in_the_file(mode: str, other: str) -> None:
    """Rows and columns of a square matrix have one shape."""

    def adapted(mode: str) -> PeftModel:
        size = {"probability": 0.5} if mode == "random" else {"rank": 2}
        return get_peft_model(nn.Sequential(nn.Linear(4, 4)), RoCoFTConfig(mode=mode, target_modules=["0"], **size))

    state = get_peft_model_state_dict(adapted(mode))
    if mode == other:
        assert not set_peft_model_state_dict(adapted(other), state).unexpected_keys
    else:
        with pytest.raises(
            ValueError, match=f"the saved adapter is of mode '{mode}', its configuration says '{other}'"
        ):
            set_peft_model_state_dict(adapted(other), state)


def change(folder: Path, **parts: Any) -> None:
    """Changes parts of the last layer in a saved adapter; None removes it."""
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    last = sorted(key.partition(".rocoft_adapter.")[0] for key in tensors if ".rocoft_adapter." in key)[-1]
    for part, make in parts.items():
        key = f"{last}.rocoft_adapter.{part}"
        tensors[key] = make(tensors.pop(key))
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            {"weight": lambda w: w[:, :-1].contiguous()},
            r"weight of .*layer.1\S* has shape \(2, \d+\), the base .* wants",
        ),
        ({"row_indices": lambda i: i + 10_000}, r"row_indices of .*layer.1\S* are not all below \d+"),
    ],
    ids=["shape", "selection"],
)
def test_the_first_layer_that_does_not_fit_is_named(
    both_builds: Any, wrap: Any, tmp_path: Path, parts: Any, message: str
) -> None:
    wrap(both_builds["roberta"](), mode="row").save_pretrained(tmp_path)
    change(tmp_path, **parts)
    with pytest.raises(ValueError, match=message):
        PeftModel.from_pretrained(both_builds["roberta"](), tmp_path)


def test_an_adapter_of_another_model_is_refused(both_builds: Any, wrap: Any, tmp_path: Path) -> None:
    model = wrap(both_builds["roberta"](), mode="row", task_type=None)
    state = get_peft_model_state_dict(model)
    with pytest.raises(ValueError, match=r"the adapter trains roberta\.encoder.*, which the base model has not"):
        set_peft_model_state_dict(wrap(both_builds["gpt2"](), mode="row", task_type=None), state)


def test_adapters_say_their_format(wrap: Any, build: Any, tmp_path: Path) -> None:
    wrap(build(), mode="row").save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    settings = json.loads(file.read_text())
    assert settings["format_version"] == 1
    file.write_text(json.dumps(settings | {"format_version": 2}))
    with pytest.raises(
        ValueError, match="format_version=2, this rocoft_bench reads those up to 1: install a later one"
    ):
        PeftModel.from_pretrained(build(), tmp_path)
