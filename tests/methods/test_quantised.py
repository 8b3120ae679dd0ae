"""QLoRA and LoftQ: bases of 4-bit weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from rocoft_bench import methods
from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models import paper_model
from rocoft_bench.models.parameter_counts import count_parameters
from rocoft_bench.models.pretrained import AUTO_CLASSES
from rocoft_bench.models.quantised import quantised_options
from rocoft_bench.models.shape_reading import shapes_of

from .conftest import CONFIGS

WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 32, "pooler_hidden_size": 64}
"""Whole blocks of 64 in a row: bitsandbytes 0.50 misreads others on the CPU."""
CASES = [
    ("llama", "causal_lm"),
    ("roberta", "sequence_classification"),
    ("roberta", "question_answering"),
    ("deberta-v2", "sequence_classification"),
]


@pytest.mark.parametrize("name", ["qlora", "loftq"])
def test_a_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"needs bitsandbytes: pip install 'rocoft-bench\[quant\]'"):
        methods.resolve({"name": name}).check_supports("causal_lm", None)


@pytest.mark.parametrize(
    ("name", "alias", "kind", "count"),
    [
        ("qlora", "llama-2-7b", "causal_lm", 159_907_840),
        ("loftq", "roberta-base", "sequence_classification", 2_654_208),
    ],
)
def test_counts_on_the_papers_models(name: str, alias: str, kind: str, count: int) -> None:
    method = methods.resolve({"name": name}, task_kind=kind, model=alias)
    shapes = shapes_of(paper_model(alias, AUTO_CLASSES[kind]), has_head=kind in TASKS_WITH_HEAD)
    assert method.adapter_parameters(shapes) == count


def train(model: Any, batch: dict[str, Tensor]) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(8):
        loss = model.train()(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def scores(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch)[1]


@pytest.fixture
def load_base(tmp_path: Path) -> Callable[..., Any]:
    """load_base(method, model_type, kind): a model that is on disk, as the method wants it loaded."""
    pytest.importorskip("bitsandbytes")

    def load(method: methods.Method, model_type: str, kind: str, **options: Any) -> Any:
        auto, folder = getattr(transformers, AUTO_CLASSES[kind]), tmp_path / f"{model_type}-{kind}"
        if not folder.exists():
            config = CONFIGS[model_type]()
            config.update(WIDE)
            torch.manual_seed(0)
            auto.from_config(config).save_pretrained(folder)
        return auto.from_pretrained(folder, **method.loading_options, **options).eval()

    return load


def qlora(**settings: Any) -> methods.Method:
    return methods.resolve({"name": "qlora", "rank": 4, "dropout": 0.0, **settings})


def check_from_training_to_loading(
    method: Any, model: Any, batch: dict[str, Any], kind: str, base: Any, folder: Path
) -> tuple[Any, torch.Tensor]:
    """The model learns, and what was saved of it computes the same in another base; this one, and its scores."""
    before = scores(model, batch)
    losses = train(model, batch)
    assert losses[-1] < losses[0]
    after = scores(model, batch)
    assert not torch.allclose(before, after)
    method.save(model, folder / "adapter")
    torch.manual_seed(123)
    loaded = method.load(base, folder / "adapter", kind).eval()
    torch.testing.assert_close(scores(loaded, batch), after, atol=1e-5, rtol=1e-5)
    return loaded, after


@pytest.mark.parametrize(("model_type", "kind"), CASES)
def test_qlora_from_loading_to_loading(
    model_type: str, kind: str, load_base: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    method, batch = qlora(), make_batch(kind)
    model = method.apply(load_base(method, model_type, kind), kind, seed=0)
    base = load_base(method, model_type, kind)
    loaded, _ = check_from_training_to_loading(method, model, batch, kind, base, tmp_path)
    with pytest.raises(UserError, match="cannot be merged"):
        method.merge(loaded)


@pytest.mark.parametrize(("model_type", "kind"), CASES)
def test_qlora_trains_as_well_after_an_evaluation(
    model_type: str, kind: str, load_base: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    method, batch = qlora(), make_batch(kind)
    models = [method.apply(load_base(method, model_type, kind), kind, seed=0) for _ in range(2)]
    for own, other in zip(*(model.parameters() for model in models), strict=True):
        other.data.copy_(own.data)
    scores(models[1], batch)
    assert train(models[0], batch) == train(models[1], batch)


@pytest.mark.parametrize(("model_type", "kind"), CASES)
def test_qlora_quantises_the_blocks_but_no_head(model_type: str, kind: str, load_base: Callable[..., Any]) -> None:
    method = qlora()
    model = method.apply(load_base(method, model_type, kind), kind, seed=0)
    plain = getattr(transformers, AUTO_CLASSES[kind]).from_config(load_base(method, model_type, kind).config)
    shapes, counts = shapes_of(plain, kind in TASKS_WITH_HEAD), count_parameters(model, kind in TASKS_WITH_HEAD)
    assert (counts.adapter, counts.head) == (method.adapter_parameters(shapes), shapes.head)
    quantised = {name for name, p in model.named_parameters() if type(p).__name__ == "Params4bit"}
    assert {name for name in quantised if name.endswith("base_layer.weight")} == {
        f"base_model.model.{linear.name}.base_layer.weight" for linear in shapes.linears
    }
    assert all(p.dtype == torch.float32 for name, p in model.named_parameters() if name not in quantised)


def test_qlora_leaves_gradient_checkpointing_to_the_settings(load_base: Callable[..., Any]) -> None:
    method = qlora()
    model: Any = method.apply(load_base(method, "llama", "causal_lm"), "causal_lm", seed=0)
    assert not any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def test_qlora_computes_with_values_of_4_bits(load_base: Callable[..., Any]) -> None:
    """The layer's output is the input times NF4 values, and the product s B A beside them."""
    method = qlora(compute_dtype="float32")
    model: Any = method.apply(load_base(method, "llama", "causal_lm"), "causal_lm", seed=0)
    plain = load_base(methods.resolve({"name": "lora"}), "llama", "causal_lm")
    name = "model.layers.1.mlp.up_proj"
    layer, weight = model.base_model.model.get_submodule(name), plain.get_submodule(name).weight
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(3, 64)
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight * 16 / 4
    rounded = nearest_nf4(weight)
    scale = weight.abs().max().item()
    torch.testing.assert_close(layer(x), x @ (rounded + product).T, atol=0.2 * scale, rtol=0)  # scales have 8 bits
    error = (layer(x) - x @ (rounded + product).T).norm() / (x @ (weight - rounded).T).norm()
    assert error < 0.2


NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
"""The values of QLoRA's appendix E."""


def nearest_nf4(weight: Tensor) -> Tensor:
    """Each value of a block of 64 rounded to the block's largest size times a value of NF4."""
    blocks = weight.detach().reshape(-1, 64)
    scale = blocks.abs().amax(dim=1, keepdim=True)
    code = torch.tensor(NF4)
    nearest = ((blocks / scale)[..., None] - code).abs().argmin(dim=-1)
    return (code[nearest] * scale).view_as(weight)


@pytest.mark.parametrize("shape", [(96, 64), (16, 16), (20, 48)])
def test_rounding_is_nf4s(shape: tuple[int, int]) -> None:
    pytest.importorskip("bitsandbytes")
    from rocoft_bench.methods.modules.quantisation_error import nf4

    torch.manual_seed(0)
    weight = torch.randn(shape)
    torch.testing.assert_close(nf4(weight), nearest_nf4(weight), atol=1e-6, rtol=1e-6)


def loftq(**settings: Any) -> methods.Method:
    return methods.resolve({"name": "loftq", "rank": 4, "alpha": 12, **settings})


def matrices(model: Any) -> dict[str, tuple[Tensor, Tensor]]:
    """Base weight and change of each adapted layer."""
    return {
        name: (module.get_base_layer().weight.detach(), module.get_delta_weight("default").detach())
        for name, module in model.base_model.model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def error(model: Any, plain: Any) -> float:
    """Of the whole start, base and change, from the weights as they were."""
    found = matrices(model).items()
    return sum((plain.get_submodule(name).weight - q - change).square().sum().item() for name, (q, change) in found)


def test_loftq_starts_from_the_best_product_for_the_error(load_base: Callable[..., Any]) -> None:
    """By Eckart and Young, what is left are the singular values after the first r, whatever the scale alpha / r."""
    method = loftq()
    plain = load_base(method, "llama", "causal_lm")
    model = method.apply(load_base(method, "llama", "causal_lm"), "causal_lm", seed=0)
    assert len(matrices(model)) == 2 * 7
    for name, (quantised, change) in matrices(model).items():
        weight = plain.get_submodule(name).weight.detach()
        torch.testing.assert_close(quantised, nearest_nf4(weight), atol=1e-6, rtol=1e-5)
        left = torch.linalg.svdvals(weight - quantised)[4:].norm()
        torch.testing.assert_close((weight - quantised - change).norm(), left)
        assert left < 0.95 * (weight - quantised).norm()


def test_loftq_iterations_come_nearer(load_base: Callable[..., Any]) -> None:
    plain = load_base(loftq(), "llama", "causal_lm")
    once, often = (
        error(loftq(iterations=n).apply(load_base(loftq(), "llama", "causal_lm"), "causal_lm", seed=0), plain)
        for n in (1, 5)
    )
    assert often < once


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("iterations", [1, 3])
def test_loftq_is_loaded_onto_the_original_base_and_merged(
    iterations: int, dtype: str, load_base: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    method, batch = loftq(iterations=iterations), make_batch("causal_lm")
    model = method.apply(load_base(method, "llama", "causal_lm", dtype=dtype), "causal_lm", seed=0)
    train(model, batch)
    after = scores(model, batch)
    method.save(model, tmp_path / "adapter")
    torch.manual_seed(123)
    loaded = method.load(load_base(method, "llama", "causal_lm", dtype=dtype), tmp_path / "adapter", "causal_lm")
    torch.testing.assert_close(scores(loaded.eval(), batch), after, atol=1e-5, rtol=1e-5)
    merged = method.merge(loaded)
    assert type(merged).__name__ == "LlamaForCausalLM"
    if dtype == "float32":
        torch.testing.assert_close(scores(merged, batch), after, atol=1e-5, rtol=1e-5)


def test_loftq_with_more_ranks_than_the_matrix_has(load_base: Callable[..., Any]) -> None:
    """Nothing is lost then, and the ranks left over start as LoRA's, ready to learn."""
    plain = load_base(loftq(), "llama", "causal_lm")
    model = loftq(rank=80).apply(load_base(loftq(), "llama", "causal_lm"), "causal_lm", seed=0)
    assert error(model, plain) < 1e-8
    for name, p in model.named_parameters():
        if "lora_A" in name:
            assert (p.abs().sum(dim=1) > 0).all()


def test_a_quantised_base_is_for_methods_that_train_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    model = ModelConfig(quantization="nf4")
    methods.resolve({"name": "rocoft"}).check_model(model)
    with pytest.raises(UserError, match="lora trains no quantised base; rocoft does, and qlora is LoRA on one"):
        methods.resolve({"name": "lora"}).check_model(model)
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(UserError, match=r"model.quantization needs bitsandbytes: pip install"):
        methods.resolve({"name": "rocoft"}).check_model(model)


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
@pytest.mark.parametrize(("model_type", "kind"), [("bert", "sequence_classification"), ("llama", "causal_lm")])
def test_rocoft_on_a_quantised_base(
    model_type: str,
    kind: str,
    quantization: Any,
    load_base: Callable[..., Any],
    make_batch: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """Evaluated before training, trained, saved, loaded, and merged into the values that the base stands for."""
    method, batch = methods.resolve({"name": "rocoft"}), make_batch(kind)
    options = quantised_options(ModelConfig(quantization=quantization))
    model: Any = method.apply(load_base(method, model_type, kind, **options), kind, seed=0)
    shapes = shapes_of(load_base(method, model_type, kind), kind in TASKS_WITH_HEAD)
    packed = {name for name, p in model.named_parameters() if type(p).__name__ in ("Params4bit", "Int8Params")}
    assert packed == {f"base_model.model.{linear.name}.base_layer.weight" for linear in shapes.linears}
    base = load_base(method, model_type, kind, **options)
    loaded, after = check_from_training_to_loading(method, model, batch, kind, base, tmp_path)
    method.merge(loaded).save_pretrained(tmp_path / "merged")
    plain = getattr(transformers, AUTO_CLASSES[kind]).from_pretrained(tmp_path / "merged").eval()
    assert not hasattr(plain.config, "quantization_config")
    tolerance = 1e-4 if quantization == "nf4" else 0.05  # int8 rounds activations too
    torch.testing.assert_close(scores(plain, batch), after, atol=tolerance, rtol=tolerance)
