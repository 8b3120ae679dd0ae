"""Export as LoRA: plain peft computes the same from it, where this package cannot be imported."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from rocoft_bench import calibrate, save_as_lora
from tests import preloaded

WITHOUT_THIS_PACKAGE = """
import sys, warnings
assert "rocoft_bench" not in sys.modules
sys.modules["rocoft_bench"] = None
from pathlib import Path
import torch, transformers
from peft import PeftModel

wrong = []
for folder in map(Path, sys.argv[1:]):
    saved = torch.load(folder / "saved.pt")
    base = getattr(transformers, saved["class"]).from_pretrained(folder / "base")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = PeftModel.from_pretrained(base, folder / "lora").eval()
    for state in ("loaded", "merged"):
        off = (model(**saved["batch"]).logits - saved["logits"]).abs().max().item()
        if off > 1e-6 * max(1, saved["logits"].abs().max().item()):
            wrong.append(f"{folder}, {state}: {off:.2e}")
        if state == "loaded":
            model.merge_adapter()
sys.exit("\\n".join(wrong) or 0)
"""


def llama() -> nn.Module:
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2
    )
    return LlamaForCausalLM(config)


def bart() -> nn.Module:
    sizes = {f"{side}_{what}": count for side in ("encoder", "decoder") for what, count in BART_SIZES.items()}
    return BartForConditionalGeneration(BartConfig(vocab_size=40, d_model=16, max_position_embeddings=20, **sizes))


BART_SIZES = {"layers": 1, "attention_heads": 2, "ffn_dim": 24}


def t5() -> nn.Module:
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config)


@pytest.fixture
def builds(both_builds: Any) -> dict[str, tuple[Callable[[], nn.Module], str]]:
    made = {name: (build, "SEQ_CLS") for name, build in both_builds.items()}
    return made | {"llama": (llama, "CAUSAL_LM"), "bart": (bart, "SEQ_2_SEQ_LM"), "t5": (t5, "SEQ_2_SEQ_LM")}


RANKS = {"fc1": 5, "query": 1, "c_fc": 5, "q_proj": 3, "wi": 40}
SETTINGS: dict[str, dict[str, Any]] = {
    "row first": {"mode": "row"},
    "row random": {"mode": "row", "selection": "random", "train_bias": True},
    "column max": {"mode": "column", "selection": "max"},
    "column random, ranks by module": {"mode": "column", "selection": "random", "rank_pattern": RANKS},
}


@pytest.mark.filterwarnings("ignore:.*rank 40 is above", "ignore:The following rank_pattern keys")
def test_plain_peft_computes_the_same(builds: Any, wrap: Any, make_batch: Any, scramble: Any, tmp_path: Path) -> None:
    folders = []
    for (name, (build, task_type)), (setting, settings) in product(builds.items(), SETTINGS.items()):
        torch.manual_seed(0)
        base, folder, batch = build().float(), tmp_path / name / setting, make_batch(0)
        if task_type != "SEQ_CLS":
            batch["labels"] = batch["input_ids"]
        base.save_pretrained(folder / "base")
        model = wrap(base, task_type=task_type, **settings).eval()
        if settings.get("selection") == "max":
            calibrate(model, [batch])
        scramble(model)
        save_as_lora(model, folder / "lora")
        saved = {"class": type(base).__name__, "batch": batch, "logits": model(**batch).logits.detach()}
        torch.save(saved, folder / "saved.pt")
        folders.append(str(folder))
    loaded = preloaded.run(WITHOUT_THIS_PACKAGE, *folders)
    assert loaded.code == 0, loaded.err
    config = json.loads((tmp_path / "t5" / "column random, ranks by module" / "lora/adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 2)
    assert set(config["rank_pattern"].values()) == {16}  # clipped to the matrix
    assert config["rank_pattern"] == config["alpha_pattern"]
    assert config["target_modules"] == sorted(config["target_modules"])  # equal adapters are saved as equal files
    assert len(config["target_modules"]) > 4


@pytest.mark.parametrize("merged", [False, True])
def test_one_factor_selects(build: Any, wrap: Any, scramble: Any, tmp_path: Path, merged: bool) -> None:
    """Also of an adapter that is merged, which stays so."""
    model = wrap(build(), selection="random")
    scramble(model)
    if merged:
        model.merge_adapter()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_as_lora(model, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    selecting = [value for name, value in tensors.items() if name.endswith("lora_B.weight")]
    assert selecting
    assert all(value.unique().tolist() == [0, 1] and (value.sum(0) == 1).all() for value in selecting)
    assert all(value.any() for name, value in tensors.items() if name.endswith("lora_A.weight"))


def test_what_is_no_lora_is_refused(build: Any, wrap: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mode random.* no low rank"):
        save_as_lora(wrap(build(), mode="random"), tmp_path / "lora")
    with pytest.raises(ValueError, match="no RoCoFT adapter 'nosuch'"):
        save_as_lora(wrap(build()), tmp_path / "lora", adapter_name="nosuch")
    with pytest.raises(RuntimeError, match=r"call rocoft_bench\.calibrate"):
        save_as_lora(wrap(build(), selection="max"), tmp_path / "lora")
    assert not (tmp_path / "lora").exists()
