"""Default targets: every linear layer of the blocks, and nothing else, for many architectures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as t
from peft import LoraConfig, get_peft_model
from torch import nn

from rocoft_bench import RoCoFTConfig, RoCoFTLayer
from rocoft_bench.tuner import default_targets

BERT = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "vocab_size": 20}
GPT = {"n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 20}
LLAMA = {**BERT, "num_key_value_heads": 1, "pad_token_id": 0}
BART = {
    **{"d_model": 8, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": 20, "max_position_embeddings": 16},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 12, "decoder_ffn_dim": 12},
    **{"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2},
}
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "pooler_hidden_size": 8}
QKV = {f"attention.self.{x}" for x in ("query", "key", "value")}
BERT_LINEARS = QKV | {"attention.output.dense", "intermediate.dense", "output.dense"}
LLAMA_LINEARS = {f"self_attn.{x}_proj" for x in "qkvo"} | {f"mlp.{x}_proj" for x in ("gate", "up", "down")}
BART_SELF = {f"self_attn.{x}_proj" for x in "qkv"} | {"self_attn.out_proj", "fc1", "fc2"}
BART_CROSS = {f"encoder_attn.{x}_proj" for x in "qkv"} | {"encoder_attn.out_proj"}
T5_SELF = {f"layer.0.SelfAttention.{x}" for x in "qkvo"}
T5_CROSS = {f"layer.1.EncDecAttention.{x}" for x in "qkvo"}

CASES: list[tuple[str, Any, Any, dict[str, set[str]]]] = [
    ("roberta", t.RobertaConfig(**BERT), t.AutoModelForSequenceClassification, {"roberta.encoder.layer": BERT_LINEARS}),
    ("bert", t.BertConfig(**BERT), t.AutoModelForMaskedLM, {"bert.encoder.layer": BERT_LINEARS}),
    ("bert pooled", t.BertConfig(**BERT), t.AutoModel, {"encoder.layer": BERT_LINEARS}),
    (
        "deberta-v3",
        t.DebertaV2Config(**BERT, **DEBERTA, share_att_key=True),
        t.AutoModelForSequenceClassification,
        {
            "deberta.encoder.layer": (BERT_LINEARS - QKV)
            | {f"attention.self.{x}_proj" for x in ("query", "key", "value")}
        },
    ),
    (
        "deberta",
        t.DebertaConfig(**BERT, **DEBERTA),
        t.AutoModelForQuestionAnswering,
        {
            "deberta.encoder.layer": (BERT_LINEARS - QKV)
            | {f"attention.self.{x}" for x in ("in_proj", "pos_proj", "pos_q_proj")}
        },
    ),
    (
        "bart",
        t.BartConfig(**BART),
        t.AutoModelForSequenceClassification,
        {"model.encoder.layers": BART_SELF, "model.decoder.layers": BART_SELF | BART_CROSS},
    ),
    (
        "t5",
        t.T5Config(d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, vocab_size=20, decoder_start_token_id=0),
        t.AutoModelForSeq2SeqLM,
        {
            "encoder.block": T5_SELF | {"layer.1.DenseReluDense.wi", "layer.1.DenseReluDense.wo"},
            "decoder.block": T5_SELF | T5_CROSS | {"layer.2.DenseReluDense.wi", "layer.2.DenseReluDense.wo"},
        },
    ),
    (
        "gpt2",
        t.GPT2Config(**GPT),
        t.AutoModelForCausalLM,
        {"transformer.h": {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}},
    ),
    (
        "gptj",
        t.GPTJConfig(**GPT, rotary_dim=4),
        t.AutoModelForCausalLM,
        {"transformer.h": {f"attn.{x}_proj" for x in ("q", "k", "v", "out")} | {"mlp.fc_in", "mlp.fc_out"}},
    ),
    (
        "bloom",
        t.BloomConfig(hidden_size=8, n_layer=2, n_head=2, vocab_size=20),
        t.AutoModelForCausalLM,
        {
            "transformer.h": {"self_attention.query_key_value", "self_attention.dense"}
            | {"mlp.dense_h_to_4h", "mlp.dense_4h_to_h"}
        },
    ),
    ("llama", t.LlamaConfig(**LLAMA), t.AutoModelForCausalLM, {"model.layers": LLAMA_LINEARS}),
    ("mistral", t.MistralConfig(**LLAMA), t.AutoModelForSequenceClassification, {"model.layers": LLAMA_LINEARS}),
    ("qwen2", t.Qwen2Config(**LLAMA), t.AutoModelForCausalLM, {"model.layers": LLAMA_LINEARS}),
    (
        "opt",
        t.OPTConfig(
            hidden_size=8, ffn_dim=12, num_hidden_layers=2, num_attention_heads=2, vocab_size=20, word_embed_proj_dim=4
        ),
        t.AutoModelForCausalLM,
        {"model.decoder.layers": BART_SELF},
    ),
    (
        "albert",
        t.AlbertConfig(**BERT, embedding_size=4),
        t.AutoModelForSequenceClassification,
        {
            "albert.encoder.albert_layer_groups": {
                f"albert_layers.0.{x}" for x in ("attention.query", "attention.key", "attention.value")
            }
            | {f"albert_layers.0.{x}" for x in ("attention.dense", "ffn", "ffn_output")}
        },
    ),
    (
        "distilbert",
        t.DistilBertConfig(dim=8, n_layers=2, n_heads=2, hidden_dim=12, vocab_size=20),
        t.AutoModelForTokenClassification,
        {
            "distilbert.transformer.layer": {f"attention.{x}_lin" for x in ("q", "k", "v", "out")}
            | {"ffn.lin1", "ffn.lin2"}
        },
    ),
]


@pytest.mark.parametrize(("name", "config", "auto", "expected"), CASES, ids=[case[0] for case in CASES])
def test_default_targets(name: str, config: Any, auto: Any, expected: dict[str, set[str]]) -> None:
    with torch.device("meta"):
        model = auto.from_config(config)
    blocks = 1 if name == "albert" else 2
    names = {f"{blocks_}.{i}.{linear}" for blocks_, ls in expected.items() for i in range(blocks) for linear in ls}
    assert set(default_targets(model)) == names
    wrapped = get_peft_model(model, RoCoFTConfig(rank=1))
    adapted = {n for n, m in wrapped.base_model.model.named_modules() if isinstance(m, RoCoFTLayer)}
    assert adapted == names
    assert set(default_targets(wrapped.base_model.model)) == names  # of a model that has adapters already


@pytest.fixture
def bart() -> nn.Module:
    return t.BartForSequenceClassification(t.BartConfig(**BART))


@pytest.mark.parametrize(
    ("layers", "pattern", "prefixes"),
    [
        ([1], None, {"model.encoder.layers.1", "model.decoder.layers.1"}),
        (0, None, {"model.encoder.layers.0", "model.decoder.layers.0"}),
        ([0, 1], "decoder.layers", {"model.decoder.layers.0", "model.decoder.layers.1"}),
        ([1], ["encoder.layers", "blocks"], {"model.encoder.layers.1"}),
    ],
)
def test_only_some_blocks(bart: nn.Module, layers: Any, pattern: Any, prefixes: set[str]) -> None:
    config = RoCoFTConfig(layers_to_transform=layers, layers_pattern=pattern)
    model = get_peft_model(bart, config)
    assert {".".join(name.split(".")[:4]) for name in model.targeted_module_names} == prefixes


def test_exclude_and_all_linear(bart: nn.Module) -> None:
    model = get_peft_model(bart, RoCoFTConfig(exclude_modules=["fc1", "fc2"]))
    assert {name.split(".")[-1] for name in model.targeted_module_names} == {"q_proj", "k_proj", "v_proj", "out_proj"}
    model.add_adapter("all", RoCoFTConfig(target_modules="all-linear"))
    layer = model.base_model.model.model.encoder.layers[0]
    assert set(layer.self_attn.q_proj.rocoft_adapter) == {"default", "all"}
    assert set(layer.fc1.rocoft_adapter) == {"all"}


def test_all_blocks_beside_another_method(bart: nn.Module) -> None:
    names = set(default_targets(bart))
    lora = get_peft_model(bart, LoraConfig(target_modules=["q_proj"])).base_model.model
    assert set(default_targets(lora)) == names
