"""Rows, columns and entries in full precision over a base of 4- and 8-bit layers, bitsandbytes' and torchao's."""

from __future__ import annotations

import copy
import importlib.util
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers as t
from peft import PeftModel, get_peft_model
from peft.utils import quantization_utils
from torch import Tensor, nn

from rocoft_bench import RoCoFTConfig, dequantize
from rocoft_bench.tuner import bases
from rocoft_bench.tuner.dynamic import LineScores
from rocoft_bench.tuner.quantised_layer import QuantizedLinear

bnb = pytest.importorskip("bitsandbytes")

IDS = torch.tensor([[1, 2, 3, 4, 0], [5, 6, 7, 5, 1]])
ROUNDS = "merged into quantised weights, which rounds them: an entry of .* is off by"
needs_torchao = pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="torchao is not installed")
TORCHAO = [pytest.param(f"torchao-{kind}", marks=needs_torchao) for kind in ("int8", "int4")]


def quantised(kind: str) -> Any:
    """A small LLaMA whose blocks' linear layers are quantised."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = t.LlamaForCausalLM(t.LlamaConfig(**sizes, vocab_size=20, initializer_range=0.3, attention_bias=True))
    if kind.startswith("torchao"):
        return loaded_by_torchao(model, kind)
    for parent in list(model.model.layers.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, quantised_linear(child, kind))
    return model.requires_grad_(False)


def loaded_by_torchao(model: t.LlamaForCausalLM, kind: str) -> Any:
    from torchao import quantization as ao

    torchao: Any = {
        "torchao-int8": ao.Int8WeightOnlyConfig,
        "torchao-int4": lambda: ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(32)),
        "torchao-int8-activations": ao.Int8DynamicActivationInt8WeightConfig,
    }
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        quantization = t.TorchAoConfig(torchao[kind]())
        return t.LlamaForCausalLM.from_pretrained(folder, quantization_config=quantization).requires_grad_(False)


def quantised_linear(linear: nn.Linear, kind: str) -> nn.Module:
    weight, size = linear.weight.data, (linear.in_features, linear.out_features, linear.bias is not None)
    layer: Any
    if kind == "int8":
        layer = bnb.nn.Linear8bitLt(*size, has_fp16_weights=False)
        layer.weight = bnb.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        layer = bnb.nn.Linear4bit(*size, quant_type=kind, compute_dtype=torch.float32)
        layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type=kind)
        layer.support_avx512bf16_for_cpu = False  # packs weights of a few sizes only
    layer.bias = linear.bias
    return layer.to("cpu")  # which quantises


@pytest.fixture(params=["nf4", "fp4", "int8", *TORCHAO])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def config(mode: str, **settings: Any) -> RoCoFTConfig:
    size: dict[str, Any] = {"probability": 0.2} if mode == "random" else {"rank": 2, "selection": "random"}
    return RoCoFTConfig(mode=mode, task_type="CAUSAL_LM", train_bias=True, **size, **settings)


def layers(model: nn.Module) -> list[QuantizedLinear]:
    return [module for module in model.modules() if isinstance(module, QuantizedLinear)]


def test_the_bases_own_product_corrected_where_it_is_trained(kind: str, mode: str, scramble: Any) -> None:
    base = quantised(kind).eval()
    model = get_peft_model(copy.deepcopy(base), config(mode)).eval()
    assert torch.equal(model(IDS).logits, base(IDS).logits)
    scramble(model)
    for layer in layers(model):
        entries, dense = layer.entries("default"), torch.zeros(layer.matrix.shape)
        selected = torch.zeros_like(dense, dtype=torch.bool)
        lines = {"row": dense, "column": dense.t()}.get(mode, dense.view(-1))
        {"row": selected, "column": selected.t()}.get(mode, selected.view(-1))[entries.indices.long()] = True
        lines[entries.indices.long()] = entries.weight.detach()
        change = torch.where(selected, dense - layer.matrix, 0)
        x = torch.randn(3, layer.in_features, requires_grad=True)
        y, expected_x = layer(x), x.detach().clone().requires_grad_()
        expected = layer.base_layer(expected_x) + F.linear(expected_x, change)
        if entries.bias is not None:
            expected = expected + (entries.bias - layer.base_layer.bias).detach()
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
        y.square().sum().backward()
        expected.square().sum().backward()
        torch.testing.assert_close(x.grad, expected_x.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["nf4", *TORCHAO])  # int8 of bitsandbytes rounds activations too
def test_gradients_are_those_of_the_dequantised_weight(kind: str, mode: str, scramble: Any) -> None:
    model = get_peft_model(quantised(kind), config(mode))
    scramble(model)
    if mode != "random":
        LineScores(model, by="random", keeps=True).reselect()
    dense = copy.deepcopy(model)
    dequantize(dense)
    assert not layers(dense)
    for each in (model, dense):
        each(input_ids=IDS, labels=IDS).loss.backward()
    expected = {name: p.grad for name, p in dense.named_parameters() if p.requires_grad}
    actual = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert expected.keys() == actual.keys()
    for name, gradient in actual.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4)


def test_no_dense_copy_is_kept(kind: str) -> None:
    model = get_peft_model(quantised(kind), config("row"))
    model(input_ids=IDS, labels=IDS).loss.backward()
    for layer in layers(model):
        entries = layer.entries("default")
        kept = [value for _, value in layer._kept.values()]
        assert [value.shape for value in kept] == [entries.weight.shape]
        floats = [v for m in layer.modules() for v in vars(m).values() if isinstance(v, Tensor)]
        weight = layer.get_base_layer().weight
        own = [weight.qdata, weight.scale] if kind.startswith("torchao") else [weight]
        rest = [v for v in (*layer.parameters(), *layer.buffers()) if v is not weight]
        tensors = [*own, *rest, *kept, *floats]
        assert not [v for v in tensors if v.is_floating_point() and v.numel() >= layer.matrix.numel()]


def test_trained_saved_loaded_and_disabled(kind: str, mode: str, tmp_path: Path) -> None:
    before = quantised(kind).eval()(IDS).logits
    model = get_peft_model(quantised(kind), config(mode))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for step in range(8):
        if step == 4 and mode != "random":
            LineScores(model, by="random", keeps=True).reselect(optimizer)
        loss = model(input_ids=IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.1
    expected = model.eval()(IDS).logits
    with model.disable_adapter():
        assert torch.equal(model(IDS).logits, before)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(quantised(kind), tmp_path).eval()
    assert torch.equal(loaded(IDS).logits, expected)


def test_merging_rounds_and_says_how_far(kind: str, mode: str, scramble: Any) -> None:
    model = get_peft_model(quantised(kind), config(mode)).eval()
    scramble(model)
    expected = model(IDS).logits
    with pytest.warns(UserWarning, match=ROUNDS):
        model.merge_adapter()
    merged = model(IDS).logits
    assert 0 < max(layer.rounding_error for layer in layers(model)) < 1.5
    assert not torch.equal(merged, expected)
    assert F.cosine_similarity(merged, expected, -1).mean() > 0.7
    model.unmerge_adapter()
    assert torch.equal(model(IDS).logits, expected)
    with pytest.warns(UserWarning, match=ROUNDS):
        assert torch.equal(model.merge_and_unload()(IDS).logits, merged)


def test_merging_into_the_dequantised_base_is_exact(kind: str, mode: str, scramble: Any) -> None:
    model = get_peft_model(quantised(kind), config(mode)).eval()
    scramble(model)
    expected = model(IDS).logits
    dequantize(model)
    dense = model(IDS).logits
    if kind != "int8":  # which rounds activations too
        torch.testing.assert_close(dense, expected, rtol=1e-4, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        torch.testing.assert_close(model.merge_and_unload()(IDS).logits, dense)


@needs_torchao
def test_what_wraps_a_quantised_layer_stays_when_it_is_dequantised() -> None:
    settings = config("row", target_modules=["q_proj"], modules_to_save=["up_proj"])
    model = get_peft_model(quantised("torchao-int8"), settings).eval()
    saved = model.base_model.model.model.layers[0].mlp.up_proj
    expected = model(IDS).logits
    dequantize(model)
    assert model.base_model.model.model.layers[0].mlp.up_proj is saved
    torch.testing.assert_close(model(IDS).logits, expected, rtol=1e-4, atol=1e-4)


def test_training_above_a_product_without_gradients_is_refused(scramble: Any) -> None:
    base = quantised("nf4")
    for layer in base.model.layers:
        layer.mlp.down_proj.register_forward_hook(lambda module, inputs, y: y.detach())
    _check_served_but_not_trained(base, scramble)


@needs_torchao
def test_activations_that_torchao_rounds_are_served_but_not_trained(scramble: Any) -> None:
    _check_served_but_not_trained(quantised("torchao-int8-activations"), scramble)


def _check_served_but_not_trained(base: nn.Module, scramble: Any) -> None:
    model = get_peft_model(base, config("row"))
    with pytest.raises(RuntimeError, match="quantised passes no gradient back to its input"):
        model(input_ids=IDS, labels=IDS).loss.backward()
    scramble(model)
    with torch.no_grad():
        served = model(IDS).logits
        dequantize(model)
        assert F.cosine_similarity(served, model(IDS).logits, -1).min() > 0.99


@needs_torchao
def test_torchaos_packed_4_bits_are_refused() -> None:
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig
    from torchao.quantization import quantize_

    base = quantised("torchao-int8")
    base.model.layers[0].self_attn.q_proj = nn.Linear(32, 32)
    quantize_(base.model.layers[0].self_attn.q_proj, PrototypeInt4WeightOnlyConfig(group_size=32))
    with pytest.raises(TypeError, match="q_proj is quantised by torchao, which does not give back the values"):
        get_peft_model(base, config("row"))


def test_what_gives_no_values_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = quantization_utils.ForwardOnlyQuantizationBackend("gptq")
    monkeypatch.setattr(bases, "resolve_quantization_backend", lambda base, **options: backend)
    with pytest.raises(TypeError, match="quantised by gptq, which does not give back the values"):
        get_peft_model(quantised("nf4"), config("row"))
