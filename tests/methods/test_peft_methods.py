"""Methods that peft provides, beside what the contract asks of all: counts of the paper, formulas, precision, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, get_peft_model
from peft.tuners.lokr.layer import factorization
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForSeq2SeqLM, T5Config

from rocoft_bench import methods
from rocoft_bench.errors import UserError
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.methods.lycoris import split_side
from rocoft_bench.methods.shira import drawn_places
from rocoft_bench.models import paper_model
from rocoft_bench.models.parameter_counts import count_parameters, is_norm
from rocoft_bench.models.pretrained import AUTO_CLASSES
from rocoft_bench.models.shape_reading import shapes_of

FILE = "adapter_model.safetensors"
KINDS = {"deberta-v3-base": "question_answering", "bart-large": "seq2seq_lm"} | dict.fromkeys(
    ("roberta-base", "roberta-large"), "sequence_classification"
)

COUNTS = [
    ("prompt-tuning", "roberta-base", 15_360),
    ("prompt-tuning", "roberta-large", 20_480),
    ("prompt-tuning", "deberta-v3-base", 15_360),
    ("prompt-tuning", "bart-large", 20_480),
    ("prefix-tuning", "roberta-base", 368_640),
    ("prefix-tuning", "roberta-large", 983_040),
    ("prefix-tuning", "bart-large", 2_973_696),
    ("prefix-tuning", "bloomz-7b", 33_423_360),
    ("prefix-tuning", "gpt-j-6b", 27_754_496),
    ("prefix-tuning", "llama-2-7b", 33_554_432),
    ("prefix-tuning", "llama-2-13b", 61_849_600),
    ("ia3", "roberta-base", 64_512),
    ("ia3", "roberta-large", 172_032),
    ("ia3", "bloomz-7b", 860_160),
    ("ia3", "gpt-j-6b", 688_128),
    ("ia3", "llama-2-7b", 614_400),
    ("ia3", "llama-2-13b", 962_560),
    ("vera", "roberta-base", 43_008),
    ("vera", "roberta-large", 98_304),
    ("loha", "deberta-v3-base", 738_818 - 1_538),
    ("loha", "bart-large", 1_179_648),
    ("lokr", "deberta-v3-base", 778_754 - 1_538),
    ("lokr", "bart-large", 1_184_256),
    ("shira", "roberta-base", 294_912),
    ("ln-tuning", "roberta-base", 38_400),
    ("ln-tuning", "roberta-large", 100_352),
    ("ln-tuning", "llama-2-7b", 266_240),
]


@pytest.mark.parametrize(("name", "alias", "expected"), COUNTS)
def test_counts_of_the_papers_models(name: str, alias: str, expected: int) -> None:
    kind = KINDS.get(alias, "causal_lm")
    shapes = shapes_of(paper_model(alias, AUTO_CLASSES[kind]), kind in TASKS_WITH_HEAD)
    assert methods.resolve({"name": name}, task_kind=kind, model=alias).adapter_parameters(shapes) == expected


def classifier(
    make_model: Callable[..., Any], section: dict[str, Any], seed: int = 0, model_type: str = "roberta"
) -> Any:
    return methods.resolve(section).apply(
        make_model(model_type, "sequence_classification"), "sequence_classification", seed
    )


def first_layer(model: Any) -> Any:
    return next(module for module in model.modules() if isinstance(module, BaseTunerLayer))


def own_tensors(layer: Any) -> dict[str, Tensor]:
    """The layer's trained tensors by their names in peft, filled with noise."""
    tensors = {name.removesuffix(".default"): p for name, p in layer.named_parameters() if p.requires_grad}
    for tensor in tensors.values():
        tensor.data.normal_()
    return tensors


def loha_weight(layer: Any, weight: Tensor, own: dict[str, Tensor]) -> Tensor:
    first, second = own["hada_w1_a"] @ own["hada_w1_b"], own["hada_w2_a"] @ own["hada_w2_b"]
    return weight + 3 / 2 * first * second


def vera_weight(layer: Any, weight: Tensor, own: dict[str, Tensor]) -> Tensor:
    a, b = layer.vera_A["default"], layer.vera_B["default"]
    return weight + own["vera_lambda_b"].diag() @ b @ own["vera_lambda_d"].diag() @ a


def shira_weight(layer: Any, weight: Tensor, own: dict[str, Tensor]) -> Tensor:
    rows, columns = layer.shira_indices["default"].long()
    return weight.index_put((rows, columns), own["shira_weight"], accumulate=True)


DENSE: list[tuple[dict[str, Any], Callable[..., Tensor]]] = [
    ({"name": "loha", "rank": 2, "alpha": 3}, loha_weight),
    ({"name": "lokr", "factor": 4}, lambda layer, weight, own: weight + torch.kron(own["lokr_w1"], own["lokr_w2"])),
    (
        {"name": "lokr", "factor": 2, "rank": 2, "alpha": 3},
        lambda layer, weight, own: weight + 1.5 * torch.kron(own["lokr_w1"], own["lokr_w2_a"] @ own["lokr_w2_b"]),
    ),
    ({"name": "vera", "rank": 8}, vera_weight),
    ({"name": "shira", "rank": 2}, shira_weight),
]


@pytest.mark.parametrize(("section", "dense"), DENSE, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_the_change_of_a_weight_is_the_formula(
    section: dict[str, Any], dense: Callable[..., Tensor], make_model: Callable[..., Any]
) -> None:
    layer = first_layer(classifier(make_model, section))
    base, own = layer.get_base_layer(), own_tensors(layer)
    x = torch.randn(5, base.in_features)
    found, expected = layer(x), F.linear(x, dense(layer, base.weight, own), base.bias)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), list(own.values())),
        torch.autograd.grad(expected.square().sum(), list(own.values())),
        atol=1e-3,
        rtol=1e-4,
    )


def test_ia3_scales_keys_values_and_the_inputs_of_output_layers(make_model: Callable[..., Any]) -> None:
    model = classifier(make_model, {"name": "ia3"}).get_base_model().roberta.encoder.layer[0]
    x, inner = torch.randn(5, 16), torch.randn(5, 32)
    for layer, at_input, given in (
        (model.attention.self.key, False, x),
        (model.attention.self.value, False, x),
        (model.attention.output.dense, True, x),
        (model.output.dense, True, inner),
    ):
        (factors,) = own_tensors(layer).values()
        base = layer.get_base_layer()
        expected = base(given * factors.flatten()) if at_input else base(given) * factors.flatten()
        torch.testing.assert_close(layer(given), expected)
    assert not isinstance(model.attention.self.query, BaseTunerLayer)
    assert not isinstance(model.intermediate.dense, BaseTunerLayer)


@pytest.mark.parametrize("model_type", ["bert", "roberta", "deberta-v2"])
def test_ia3_by_default_is_that_of_peft_on_encoders(model_type: str, make_model: Callable[..., Any]) -> None:
    def trained(model: Any) -> dict[str, torch.Size]:
        return {name: p.shape for name, p in model.named_parameters() if p.requires_grad and "ia3" in name}

    theirs: Any = get_peft_model(make_model(model_type, "sequence_classification"), IA3Config(task_type="SEQ_CLS"))
    assert trained(classifier(make_model, {"name": "ia3"}, model_type=model_type)) == trained(theirs)


def test_the_sides_of_lokr_are_those_of_peft() -> None:
    for side in range(1, 200):
        for factor in (1, 2, 7, 8, 16):
            assert split_side(side, factor) == factorization(side, factor)


def test_lokr_with_a_rank_counts_what_it_trains(make_model: Callable[..., Any]) -> None:
    method = methods.resolve({"name": "lokr", "rank": 4, "factor": 2, "target_modules": ["query", "ffn_in"]})
    model = make_model("roberta", "sequence_classification")
    shapes = shapes_of(model, has_head=True)
    counts = count_parameters(method.apply(model, "sequence_classification", 0))
    assert counts.adapter == method.adapter_parameters(shapes) == 2 * ((4 + 8 * 8) + (4 + 4 * (16 + 8)))


def test_vera_saves_no_random_matrix_and_draws_them_with_the_seed(
    make_model: Callable[..., Any], tmp_path: Path
) -> None:
    model = classifier(make_model, {"name": "vera"}, seed=5)
    a = first_layer(model).vera_A["default"]
    assert a.shape == (1024, 16)
    methods.resolve({"name": "vera"}).save(model, tmp_path)
    assert not [name for name in load_file(tmp_path / FILE) if "vera_A" in name or "vera_B" in name]
    assert torch.equal(first_layer(classifier(make_model, {"name": "vera"}, seed=5)).vera_A["default"], a)
    assert not torch.equal(first_layer(classifier(make_model, {"name": "vera"}, seed=6)).vera_A["default"], a)


def test_shira_draws_places_by_seed_and_layer() -> None:
    places = drawn_places(0, "layer.0.query", 20, 30, rank=3)
    rows, columns = places.tolist()
    assert places.dtype == torch.int32
    assert len(set(zip(rows, columns, strict=True))) == 3 * (20 + 30)
    assert max(rows) < 20
    assert max(columns) < 30
    assert torch.equal(drawn_places(0, "layer.0.query", 20, 30, rank=3), places)
    assert not torch.equal(drawn_places(1, "layer.0.query", 20, 30, rank=3), places)
    assert not torch.equal(drawn_places(0, "layer.1.query", 20, 30, rank=3), places)


def test_a_saved_shira_keeps_its_places(make_model: Callable[..., Any], tmp_path: Path) -> None:
    method = methods.resolve({"name": "shira", "rank": 2})
    model = classifier(make_model, {"name": "shira", "rank": 2}, seed=7)
    method.save(model, tmp_path)
    loaded = method.load(make_model("roberta", "sequence_classification"), tmp_path, "sequence_classification")
    assert torch.equal(first_layer(loaded).shira_indices["default"], first_layer(model).shira_indices["default"])


def test_ln_tuning_keeps_float32_values_on_a_half_precision_base(
    make_model: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    kind, method = "sequence_classification", methods.resolve({"name": "ln-tuning"})
    batch = make_batch(kind)
    model = method.apply(make_model("bert", kind).bfloat16(), kind, 0)
    norms = [p for name, p in model.named_parameters() if "ln_tuning_layers" in name]
    for norm in norms:
        norm.data += 0.001 * torch.randn_like(norm)
    method.save(model, tmp_path)
    loaded = method.load(make_model("bert", kind).bfloat16(), tmp_path, kind)
    again = [p for name, p in loaded.named_parameters() if "ln_tuning_layers" in name]
    assert len(norms) == len(again) == 10
    assert all(
        torch.equal(one, other) and other.dtype == torch.float32 for one, other in zip(norms, again, strict=True)
    )
    assert torch.equal(loaded.eval()(**batch).logits, model.eval()(**batch).logits)
    expected = loaded(**batch).logits
    merged = method.merge(loaded)
    assert {p.dtype for name, p in merged.named_parameters() if "LayerNorm" in name} == {torch.float32}
    assert torch.equal(merged(**batch).logits, expected)


def test_ln_tuning_finds_the_norms_of_a_model_without_an_encoder_of_its_own(
    make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    def make() -> Any:
        torch.manual_seed(0)
        sizes = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
        return AutoModelForSeq2SeqLM.from_config(T5Config(**sizes, decoder_start_token_id=1, dropout_rate=0.0)).eval()

    kind, method = "seq2seq_lm", methods.resolve({"name": "ln-tuning"})
    batch, model = make_batch(kind), method.apply(make(), kind, 0)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 7  # two norms in the encoder's block, three in the decoder's, one at the end of either
    for norm in trained.values():
        norm.data += 0.1 * torch.randn_like(norm)
    method.save(model, tmp_path)
    logits = model.eval()(**batch).logits
    loaded = method.load(make(), tmp_path, kind).eval()
    assert torch.equal(loaded(**batch).logits, logits)
    assert torch.equal(method.merge(loaded)(**batch).logits, logits)


def test_ln_tuning_of_a_model_without_norms_is_refused(make_model: Callable[..., Any]) -> None:
    model = make_model("llama", "causal_lm")
    for name in [name for name, module in model.named_modules() if is_norm(module)]:
        model.set_submodule(name, torch.nn.Identity())
    with pytest.raises(UserError, match="a llama model has no normalisation layers"):
        methods.resolve({"name": "ln-tuning"}).apply(model, "causal_lm", 0)


ALL = ["prompt-tuning", "prefix-tuning", "ia3", "vera", "loha", "lokr", "shira", "ln-tuning"]


@pytest.mark.parametrize("model_type", ["roberta", "llama", "bart"])
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("base", [torch.bfloat16, torch.float32])
def test_values_are_float32_whatever_the_base(
    name: str, base: torch.dtype, model_type: str, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    kind = {"llama": "causal_lm", "bart": "seq2seq_lm"}.get(model_type, "sequence_classification")
    model = methods.resolve({"name": name}, task_kind=kind).apply(make_model(model_type, kind).to(base), kind, 0)
    own = [p for n, p in model.named_parameters() if p.requires_grad and "modules_to_save" not in n]
    assert {p.dtype for p in own} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16, enabled=base == torch.float32):
        loss = model(**make_batch(kind)).loss
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in own)
