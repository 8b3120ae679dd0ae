"""How each method is trained where a config does not say, by its own paper; and what of it weight decay spares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import transformers as t
from torch import nn

from rocoft_bench import methods
from rocoft_bench.config import Settings, TrainingConfig
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.methods import METHODS

from .conftest import SMALL, TOKENS
from .test_contract import SMALLER, resolved


class Row(NamedTuple):
    """exempt: parts of the names of the parameters that are not decayed, beside every `bias`."""

    rate: float
    decay: float
    exempt: tuple[str, ...]
    source: str


NORMS = ("LayerNorm",)
OWN = "no paper's: chosen here"
TABLE = {
    "rocoft": Row(1e-3, 0.0, (), "Kowsher et al., Table 10 states both for each task"),
    "full": Row(3e-5, 0.1, NORMS, "Liu et al. 2019 (RoBERTa), Table 10: 1e-5, 2e-5, 3e-5 and 0.1"),
    "bitfit": Row(1e-3, 0.0, (), "Ben Zaken et al. 2021: 1e-4 to 1e-3; benzakenelad/BitFit: AdamW without decay"),
    "head-only": Row(5e-3, 0.0, (), OWN),
    "prompt-tuning": Row(2e-2, 1e-5, (), "Lester et al. 2021: decay 1e-5 (and 0.3 with Adafactor)"),
    "prefix-tuning": Row(1e-2, 0.0, (), "THUDM/P-tuning-v2, run_rte_bert.sh"),
    "ia3": Row(3e-3, 0.0, ("ia3_l",), "r-three/t-few, configs/ia3.json and Config.py"),
    "adapter": Row(1e-4, 0.1, ("norm",), "jxhe/unify-parameter-efficient-tuning, exps/run_glue.sh"),
    "lora": Row(5e-4, 0.1, (), "microsoft/LoRA, examples/NLU/roberta_base_mnli.sh"),
    "adalora": Row(1e-3, 0.01, ("lora_E",), "QingruZhang/AdaLoRA, NLU/scripts/run_debertav3_mrpc.sh"),
    "mam": Row(1e-4, 0.1, (), "jxhe/unify-parameter-efficient-tuning, exps/run_roberta_glue.sh"),
    "propetl-adapter": Row(1e-4, 0.1, ("scores",), "ChaosCodes/PROPETL, scripts for RoBERTa"),
    "propetl-prefix": Row(1e-4, 0.1, ("scores",), "ChaosCodes/PROPETL, scripts for RoBERTa"),
    "propetl-lora": Row(1e-4, 0.1, ("scores",), "ChaosCodes/PROPETL, scripts for RoBERTa"),
    "moslora": Row(3e-4, 0.0, (), "wutaiqiang/MoSLoRA, commonsense_reasoning/train_moslora.sh"),
    "lora-xs": Row(1e-3, 0.0, (), "MohammadrezaBanaei/LoRA-XS, scripts/run_glue.py: 1e-4, 5e-4, 1e-3"),
    "vera": Row(1e-2, 0.0, ("vera_lambda_b", "vera_lambda_d"), "Kopiczko et al. 2023, settings for RoBERTa-base"),
    "lora-fa": Row(1e-3, 0.0, (), OWN),
    "sft": Row(3e-3, 0.0, (), OWN),
    "diff-pruning": Row(
        1e-5, 0.0, (*NORMS, "log_alpha", "tensor_log_alpha"), "dguo98/DiffPruning, experiments/example_sst2.sh"
    ),
    "loha": Row(3e-3, 0.0, (), OWN),
    "lokr": Row(5e-3, 0.0, (), OWN),
    "dora": Row(2e-4, 0.0, ("lora_magnitude_vector",), "NVlabs/DoRA, commonsense_reasoning/llama2_7B_DoRA.sh"),
    "qlora": Row(2e-4, 0.0, (), "Dettmers et al. 2023: 2e-4 for 7B and 13B; artidoro/qlora: decay 0"),
    "loftq": Row(3e-4, 0.1, (), "yxli2123/LoftQ, scripts/train_gsm8k.sh"),
    "shira": Row(5e-3, 0.0, (), OWN),
    "ln-tuning": Row(5e-3, 0.0, ("ln_tuning_layers",), OWN),
}


def test_every_method_is_in_the_table() -> None:
    assert list(TABLE) == list(METHODS)


@pytest.mark.parametrize("name", TABLE)
def test_rate_and_decay_are_the_papers(name: str) -> None:
    method, row = METHODS[name], TABLE[name]
    assert (method.learning_rate, method.weight_decay) == (row.rate, row.decay), row.source


def test_a_rate_may_be_another_one_for_language_models() -> None:
    """SHiRA's paper (Table 9) states 5e-4 for them."""
    values = {"task": {"family": "demo", "name": "choices"}, "model": {"name": "demo-llama"}}
    chosen = resolve(Settings({**values, "method": {"name": "shira"}})).config.training
    assert (chosen.learning_rate, chosen.weight_decay) == (5e-4, 0.0)


def spared(model: nn.Module, method: methods.Method) -> tuple[set[str], set[str]]:
    """The names of the parameters that are decayed, and of those that are not."""
    settings = TrainingConfig(weight_decay=0.5)
    decays = {
        id(parameter): group["weight_decay"]
        for group in make_optimizer(model, settings, method.hooks(model, settings, 10)).param_groups
        for parameter in group["params"]
    }
    trained = {name: decays[id(p)] for name, p in model.named_parameters() if p.requires_grad}
    assert set(trained.values()) <= {0.0, 0.5}
    return {name for name, decay in trained.items() if decay}, {name for name, decay in trained.items() if not decay}


@pytest.mark.parametrize("name", TABLE)
def test_decay_spares_biases_norms_and_what_is_not_neutral_at_0(name: str, make_model: Callable[..., Any]) -> None:
    kind = "sequence_classification"
    method = resolved(name, "roberta", kind)
    if name == "rocoft":
        method = methods.resolve({"name": name, "train_bias": True})
    model = method.apply(make_model("roberta", kind), kind, seed=0)
    parts = {"bias", *TABLE[name].exempt}
    decayed, exempt = spared(model, method)
    assert decayed | exempt
    assert exempt == {each for each in decayed | exempt if not parts.isdisjoint(each.split("."))}
    for part in TABLE[name].exempt:
        assert any(part in each.split(".") for each in exempt), part


ARCHITECTURES: dict[str, tuple[Callable[[], Any], set[str]]] = {
    "gpt2": (lambda: t.GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2), {"ln_1", "ln_2", "ln_f"}),
    "qwen3": (
        lambda: t.Qwen3Config(**SMALL, **TOKENS, num_key_value_heads=2, head_dim=8),
        {"q_norm", "k_norm", "input_layernorm", "post_attention_layernorm", "norm"},
    ),
    "t5": (
        lambda: t.T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2),
        {"layer_norm", "final_layer_norm"},
    ),
}


@pytest.mark.parametrize(
    ("name", "architecture"),
    [(name, architecture) for name in ("full", "ln-tuning") for architecture in ARCHITECTURES],
)
def test_norms_are_told_by_what_they_are(name: str, architecture: str) -> None:
    make_config, norms = ARCHITECTURES[architecture]
    kind, auto = ("seq2seq_lm", "Seq2SeqLM") if architecture == "t5" else ("causal_lm", "CausalLM")
    method = methods.resolve({"name": name, **SMALLER.get(name, {})}, task_kind=kind)
    model: Any = method.apply(getattr(t, f"AutoModelFor{auto}").from_config(make_config()), kind, seed=0)
    decayed, exempt = spared(model, method)
    of_norms = {each for each in decayed | exempt if not norms.isdisjoint(each.split("."))}
    assert of_norms
    assert exempt == of_norms | {each for each in decayed | exempt if each.endswith(".bias")}
    if name == "full":
        assert any("embed" in each or "wte" in each or "shared" in each for each in decayed)
