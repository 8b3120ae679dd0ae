"""Rows, columns and entries of parameters that no linear layer has: fused experts, embeddings, tied matrices."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from peft import PeftModel, get_peft_model
from torch import Tensor, nn

from rocoft_bench import RoCoFTConfig, RoCoFTLayer, calibrate, save_as_lora
from rocoft_bench.tuner import needs_calibration
from rocoft_bench.tuner.selection import read, written

SIZES = {
    **{"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 20},
    **{"num_key_value_heads": 1, "initializer_range": 0.3, "pad_token_id": 0},
}
IDS = torch.tensor([[1, 2, 3, 4, 0], [5, 6, 7, 5, 1]])
EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]


def mixtral() -> nn.Module:
    torch.manual_seed(0)
    return t.MixtralForCausalLM(t.MixtralConfig(**SIZES, num_local_experts=4))


def qwen3_moe() -> nn.Module:
    torch.manual_seed(0)
    config = t.Qwen3MoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, head_dim=4)
    return t.Qwen3MoeForCausalLM(config)


def gpt_oss() -> nn.Module:
    """Whose experts are stored as (E, d_in, d_out)."""
    torch.manual_seed(0)
    model = t.GptOssForCausalLM(t.GptOssConfig(**SIZES, num_local_experts=4, head_dim=4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


def llama(tied: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return t.LlamaForCausalLM(t.LlamaConfig(**SIZES, tie_word_embeddings=tied))


def config(mode: str, **settings: Any) -> RoCoFTConfig:
    size: dict[str, Any] = {"probability": 0.2} if mode == "random" else {"rank": 2, "selection": "random"}
    return RoCoFTConfig(mode=mode, task_type="CAUSAL_LM", **size, **settings)


def wrappers(model: nn.Module) -> list[RoCoFTLayer]:
    return [m for m in model.modules() if isinstance(m, RoCoFTLayer) and type(m).__name__ == "ParamWrapper"]


@pytest.mark.parametrize("make", [mixtral, qwen3_moe, gpt_oss])
def test_fused_experts_are_trained_as_a_dense_copy_would_be(make: Any, mode: str, scramble: Any) -> None:
    dense, model = make().eval(), get_peft_model(make(), config(mode, target_parameters=EXPERTS)).eval()
    scramble(model)
    assert {layer.parameter_name for layer in wrappers(model)} == {"gate_up_proj", "down_proj"}
    assert len(wrappers(model)) == 4
    layers = [m for m in model.modules() if isinstance(m, RoCoFTLayer)]
    names = {
        id(layer): f"{name.replace('base_model.model.', '').replace('.base_layer', '')}.{layer.parameter_name}"
        for name, layer in model.named_modules()
        if isinstance(layer, RoCoFTLayer)
    }
    for layer in layers:
        parameter, entries = dense.get_parameter(names[id(layer)]), layer.entries("default")
        changed = written(layer.matrix, entries.indices, mode, entries.weight.detach())
        parameter.data.copy_(
            changed if changed.shape == parameter.shape and not layer_is_transposed(layer) else changed.mT
        )
    expected, y = dense(IDS).logits, model(IDS).logits
    torch.testing.assert_close(y, expected)
    expected.square().sum().backward()
    y.square().sum().backward()
    for layer in layers:
        entries, gradient = layer.entries("default"), dense.get_parameter(names[id(layer)]).grad
        thin = written_at(gradient.mT if layer_is_transposed(layer) else gradient, layer)
        torch.testing.assert_close(entries.weight.grad, thin, rtol=1e-4, atol=1e-5)


def layer_is_transposed(layer: Any) -> bool:
    return bool(getattr(layer, "_is_transposed", False))


def written_at(gradient: Tensor, layer: RoCoFTLayer) -> Tensor:
    entries = layer.entries("default")
    return read(gradient.contiguous(), entries.indices, entries.mode)


@pytest.mark.parametrize("targets", [{"target_parameters": EXPERTS}, {"target_modules": ["embed_tokens", "q_proj"]}])
def test_saved_merged_unmerged_disabled_and_generating(
    mode: str, scramble: Any, tmp_path: Path, targets: dict[str, Any]
) -> None:
    base = mixtral().eval()
    plain, prompt = base(IDS).logits, {"input_ids": IDS[:, :3], "max_new_tokens": 4, "min_new_tokens": 4}
    model = get_peft_model(mixtral(), config(mode, **targets)).eval()
    torch.testing.assert_close(model(IDS).logits, plain)
    scramble(model)
    expected = model(IDS).logits
    assert not torch.allclose(expected, plain, atol=1e-3)
    with model.disable_adapter():
        assert torch.equal(model(IDS).logits, plain)
    model.merge_adapter()
    torch.testing.assert_close(model(IDS).logits, expected)
    tokens = model.generate(**prompt)
    model.unmerge_adapter()
    assert torch.equal(model.generate(**prompt), tokens)
    assert torch.equal(model(IDS).logits, expected)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    loaded = PeftModel.from_pretrained(mixtral(), tmp_path).eval()
    assert torch.equal(loaded(IDS).logits, expected)
    torch.testing.assert_close(model.merge_and_unload()(IDS).logits, expected)


def test_a_second_adapter_of_the_experts(mode: str, scramble: Any) -> None:
    model = get_peft_model(mixtral(), config(mode, target_parameters=EXPERTS, target_modules=[])).eval()
    scramble(model)
    first = model(IDS).logits
    model.add_adapter("other", config("row", target_parameters=EXPERTS, target_modules=[], seed=1))
    model.set_adapter("other")
    scramble(model)
    second = model(IDS).logits
    assert not torch.allclose(first, second, atol=1e-3)
    assert len(wrappers(model)) == 4
    model.base_model.set_adapter(["default", "other"])
    both = model(IDS).logits
    model.merge_adapter()
    torch.testing.assert_close(model(IDS).logits, both)
    model.unmerge_adapter()
    model.set_adapter("default")
    assert torch.equal(model(IDS).logits, first)
    with pytest.raises(ValueError, match="cannot pass a MixtralExperts with adapters"):
        model(IDS, adapter_names=["default", "other"])
    with pytest.raises(ValueError, match="not exported"):
        save_as_lora(model, "nowhere")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"target_parameters": ["experts.gate_proj"]},
            "no parameter is named experts.gate_proj; the nearest names are",
        ),
        ({"target_parameters": ["input_layernorm.weight"]}, r"input_layernorm.weight is torch.float32 of shape \(8,\)"),
        ({"target_parameters": EXPERTS, "selection": "max"}, "selection='max' scores by what a layer is given"),
        ({"target_modules": ["embed_tokens"], "selection": "max"}, "embed_tokens is given tokens"),
        ({"target_modules": ["lm_head"], "ensure_weight_tying": True}, "leave it out of target_modules"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    model = t.MixtralForCausalLM(t.MixtralConfig(**SIZES, num_local_experts=4, tie_word_embeddings=True))
    with pytest.raises(ValueError, match=message):
        get_peft_model(model, RoCoFTConfig(**settings))
    assert not any(isinstance(m, RoCoFTLayer) for m in model.modules())


def test_default_targets_say_how_to_train_experts() -> None:
    with pytest.warns(UserWarning, match=r"unless target_parameters=\['experts.down_proj', 'experts.gate_up_proj'\]"):
        get_peft_model(mixtral(), RoCoFTConfig())
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "the default targets reach")
        model = get_peft_model(mixtral(), RoCoFTConfig(target_parameters=EXPERTS))
    reached = sum(layer.matrix.numel() for layer in model.modules() if isinstance(layer, RoCoFTLayer))
    assert reached / sum(p.numel() for n, p in model.named_parameters() if "rocoft_" not in n and "layers" in n) > 0.95


def llama4() -> nn.Module:
    """Whose router is a linear layer that returns scores beside logits."""
    torch.manual_seed(0)
    sizes = SIZES | {"intermediate_size_mlp": 12, "head_dim": 4, "num_local_experts": 2}
    return t.Llama4ForCausalLM(t.Llama4TextConfig(**sizes))


@pytest.mark.filterwarnings("ignore:the default targets reach")
def test_a_router_with_a_forward_of_its_own(mode: str, scramble: Any) -> None:
    model = get_peft_model(llama4(), config(mode)).eval()
    torch.testing.assert_close(model(IDS).logits, llama4().eval()(IDS).logits)
    assert any("router" in name for name, m in model.named_modules() if isinstance(m, RoCoFTLayer))
    scramble(model)
    expected = model(IDS).logits
    model.merge_adapter()
    torch.testing.assert_close(model(IDS).logits, expected)


class Squares(nn.Linear):
    """Returns what no change of W is a change of that can be added."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = super().forward(x)
        return y, y.square()


class WithSquares(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = Squares(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y, squares = self.linear(x)
        return y + squares


def test_parameters_alone_of_a_model_without_blocks(mode: str, scramble: Any) -> None:
    torch.manual_seed(0)
    size: dict[str, Any] = {"probability": 0.2} if mode == "random" else {"rank": 2}
    model = get_peft_model(
        nn.Sequential(nn.Linear(4, 5)), RoCoFTConfig(mode=mode, target_parameters=["0.weight"], **size)
    )
    x = torch.randn(3, 4)
    before = model(x)
    scramble(model)
    assert len(wrappers(model)) == 1
    changed = model(x)
    assert not torch.allclose(changed, before)
    torch.testing.assert_close(model.merge_and_unload()(x), changed)


@pytest.mark.parametrize("selection", ["first", "max"])
def test_a_linear_layer_with_a_forward_of_its_own(mode: str, selection: str, scramble: Any) -> None:
    torch.manual_seed(0)
    size: dict[str, Any] = {"probability": 0.2} if mode == "random" else {"rank": 2, "selection": selection}
    model = get_peft_model(WithSquares(), RoCoFTConfig(mode=mode, target_modules=["linear"], train_bias=True, **size))
    x = torch.randn(3, 4)
    if needs_calibration(model):
        with pytest.raises(RuntimeError, match="calibrate"):
            model(x)
        calibrate(model, [{"x": x}])
    scramble(model)
    entries, dense = model.base_model.model.linear.entries("default"), WithSquares()
    with torch.no_grad():
        weight = written(model.base_model.model.linear.matrix, entries.indices, mode, entries.weight)
        dense.linear.weight.copy_(weight)
        dense.linear.bias.copy_(entries.bias)
    y, expected = model(x), dense(x)
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(entries.bias.grad, dense.linear.bias.grad)
    torch.testing.assert_close(entries.weight.grad, read(dense.linear.weight.grad, entries.indices, mode))
    torch.testing.assert_close(model.merge_and_unload()(x), expected)


@pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`")
@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_one_of_two_tied_matrices_is_trained_alone(mode: str, scramble: Any, target: str) -> None:
    model = get_peft_model(llama(tied=True), config(mode, target_modules=[target])).eval()
    tokens = torch.arange(20)[None]
    shared = model.get_input_embeddings().weight
    before = shared.clone()
    scramble(model)
    expected = model(tokens).logits
    assert not torch.allclose(expected, llama(tied=True)(tokens).logits, atol=1e-3)
    prompt = {"input_ids": IDS[:1, :3], "max_new_tokens": 5, "min_new_tokens": 5}
    answer = model.generate(**prompt)
    model.merge_adapter()
    torch.testing.assert_close(model(tokens).logits, expected)
    assert torch.equal(model.generate(**prompt), answer)
    model.unmerge_adapter()
    assert torch.equal(model.get_input_embeddings().weight, before)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert torch.equal(model(tokens).logits, expected)
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(tokens).logits, expected)
    assert not merged.config.tie_word_embeddings


@pytest.mark.parametrize("make", [llama, lambda: llama(tied=True)], ids=["own head", "tied head"])
def test_tokens_are_trained_beside_rows(make: Any, scramble: Any, tmp_path: Path) -> None:
    """As trl's SFTTrainer asks for those that a chat template adds."""
    settings = config("row", trainable_token_indices={"embed_tokens": [5, 7]})
    model = get_peft_model(make(), settings).eval()
    scramble(model)
    expected = model(IDS).logits
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make(), tmp_path).eval()
    torch.testing.assert_close(loaded(IDS).logits, expected)
    torch.testing.assert_close(loaded.merge_and_unload()(IDS).logits, expected)


def test_tied_modules_that_are_saved_in_full_stay_tied(scramble: Any, tmp_path: Path) -> None:
    settings = config("row", modules_to_save=["embed_tokens"], ensure_weight_tying=True)
    model = get_peft_model(llama(tied=True), settings).eval()
    scramble(model)
    expected = model(IDS).logits
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(IDS).logits, expected)
    torch.testing.assert_close(merged.lm_head.weight, merged.model.embed_tokens.weight)
