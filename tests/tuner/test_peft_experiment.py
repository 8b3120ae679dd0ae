"""`scripts/peft_experiment.py` writes what PEFT's MetaMathQA suite reads."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peft import PeftConfig

from rocoft_bench.tuner import RoCoFTConfig

SCRIPT = Path(__file__).parents[2] / "scripts" / "peft_experiment.py"
SUITE_DEFAULTS = {
    "model_id": "meta-llama/Llama-3.2-3B",
    "dtype": "bfloat16",
    "max_seq_length": 768,
    "batch_size": 4,
    "batch_size_eval": 50,
    "max_steps": 5000,
    "eval_steps": 250,
    "compile": False,
    "use_gc": False,
    "seed": 0,
    "grad_norm_clip": 1.0,
    "optimizer_type": "AdamW",
    "optimizer_kwargs": {"lr": 1e-4, "weight_decay": 0.1},
    "lr_scheduler": "cosine",
    "use_amp": False,
    "autocast_adapter_dtype": True,
    "attn_implementation": None,
    "generation_kwargs": {"max_length": 800, "max_new_tokens": 300},
    "query_template": "Question: {query} Think step by step.\nAnswer:",
    "init_kv_cache_prefix": None,
}
"""As PEFT ships them."""

Export = Callable[..., tuple[int, str]]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "MetaMathQA"
    folder.mkdir()
    (folder / "default_training_params.json").write_text(json.dumps(SUITE_DEFAULTS))
    return folder


@pytest.fixture
def export(suite: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Export:
    def call(*arguments: object) -> tuple[int, str]:
        given = [str(SCRIPT), *map(str, arguments), "--suite", str(suite)]
        monkeypatch.setattr(sys, "argv", given)
        try:
            runpy.run_path(str(SCRIPT), run_name="__main__")
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


def params_of(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "training_params.json").read_text())
    return values


def test_a_method_alone_stands_beside_the_results_of_the_suite(export: Export, suite: Path, tmp_path: Path) -> None:
    config = tmp_path / "columns.yaml"
    config.write_text("method: {name: rocoft, mode: column, rank: 8, target_modules: [q_proj, v_proj]}\n")
    code, said = export(config)
    assert code == 0, said
    folder = suite / "experiments" / "rocoft" / "Llama-3.2-3B-RoCoFT-8-Column"
    assert params_of(folder) == {"optimizer_type": "AdamW", "optimizer_kwargs": {"lr": 1e-3, "weight_decay": 0.0}}
    adapter = PeftConfig.from_pretrained(str(folder))
    assert isinstance(adapter, RoCoFTConfig)
    assert (adapter.mode, adapter.rank, adapter.target_modules) == ("column", 8, {"q_proj", "v_proj"})


def test_what_a_config_states_is_in_the_fields_of_the_suite(export: Export, suite: Path) -> None:
    code, said = export("math/gsm8k.yaml", "--set", "training.max_grad_norm=null", "--set", "training.precision=bf16")
    assert code == 0, said
    params = params_of(suite / "experiments" / "rocoft" / "Llama-2-7b-hf-RoCoFT-3-Row")
    assert params.keys() <= SUITE_DEFAULTS.keys()
    assert params["model_id"] == "meta-llama/Llama-2-7b-hf"
    assert params["batch_size"] == 16
    assert params["grad_norm_clip"] == 0.0
    assert params["use_amp"] is True
    assert "max_seq_length" not in params
    assert "training.warmup_steps" in said.partition("not taken")[2]
    assert "training.gradient_accumulation" not in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("glue/rte.yaml",), "causal language models"),
        (("math/gsm8k.yaml", "--set", "method.selection=max"), "calibrate"),
        (("math/gsm8k.yaml", "--set", "method.target_modules=[query]"), "q_proj"),
        (("math/gsm8k.yaml", "--set", "method.reselect_every=9"), "chooses nothing anew"),
        (("math/gsm8k.yaml", "--set", "method.name=lora"), "only rocoft"),
        (("math/gsm8k.yaml", "--set", "training.lr_scheduler=linear"), "cosine and constant"),
    ],
)
def test_what_the_suite_cannot_do_is_refused(export: Export, suite: Path, arguments: tuple[str, ...], why: str) -> None:
    code, said = export(*arguments)
    assert code == 2
    assert why in said
    assert not (suite / "experiments").exists()


def test_another_version_of_the_suite_is_told(export: Export, suite: Path) -> None:
    (suite / "default_training_params.json").write_text("{}")
    code, said = export("math/gsm8k.yaml")
    assert code == 2
    assert "another version of the suite" in said
