"""The PROPETL methods and the masked prototypes that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.checkpoint import TrainState, load_checkpoint, save_checkpoint
from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.engine.processes import Processes
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.methods.in_model import FILE_NAME
from rocoft_bench.methods.modules.bottleneck import MaskedBottleneck
from rocoft_bench.methods.modules.low_rank import MaskedLoRA
from rocoft_bench.methods.modules.shared_mask import Mask, masked, pack, unpack
from rocoft_bench.methods.modules.wrappers import modules_of
from rocoft_bench.models import AUTO_CLASSES, paper_model
from rocoft_bench.models.shape_reading import shapes_of

CLASSIFY = "sequence_classification"
CPU = torch.device("cpu")
SECTIONS = [{"name": "propetl-lora", "rank": 4, "keep": 0.25}, {"name": "propetl-adapter", "bottleneck": 4}]


def applied(section: dict[str, Any], model: nn.Module, kind: str = CLASSIFY) -> Any:
    return methods.resolve(section).apply(model, kind, seed=0)


def dense_mask(scores: Tensor, kept: int) -> Tensor:
    """By sorting: 1 at the `kept` largest magnitudes."""
    order = sorted(range(scores.numel()), key=lambda i: -abs(scores.flatten()[i].item()))
    mask = torch.zeros(scores.numel())
    mask[order[:kept]] = 1
    return mask.view_as(scores)


@pytest.mark.parametrize("keep", [0.1, 0.5, 1.0])
def test_propetl_mask_keeps_the_entries_of_largest_score(keep: float) -> None:
    torch.manual_seed(0)
    mask = Mask((7, 9), keep, CPU)
    assert mask.scores is not None
    assert mask.binary().sum() == mask.kept == round(63 * keep)
    torch.testing.assert_close(mask.binary().float(), dense_mask(mask.scores.detach(), mask.kept))
    prototype = torch.randn(7, 9)
    torch.testing.assert_close(mask(prototype), prototype * mask.binary())


def test_propetl_mask_keeps_something_however_small_the_share() -> None:
    assert Mask((2, 5), 0.001, CPU).binary().sum() == 1
    assert Mask((2, 2), 0.01, CPU).binary().sum() == 1


def test_propetl_gradients_pass_straight_through() -> None:
    torch.manual_seed(0)
    prototype, scores = torch.randn(5, 6, requires_grad=True), torch.randn(5, 6, requires_grad=True)
    target = torch.randn(5, 6)
    (masked(prototype, scores, 12) - target).square().sum().backward()
    mask = dense_mask(scores.detach(), 12)
    by_output = 2 * (prototype.detach() * mask - target)
    torch.testing.assert_close(prototype.grad, by_output * mask)
    torch.testing.assert_close(scores.grad, by_output * prototype.detach() * scores.detach().sign())


@pytest.mark.parametrize("shape", [(1,), (8,), (3, 5), (4, 16)])
def test_propetl_bits_hold_a_mask(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    mask = torch.rand(shape) < 0.4
    octets = pack(mask)
    assert (octets.dtype, len(octets)) == (torch.uint8, -(-mask.numel() // 8))
    assert torch.equal(unpack(octets, mask.shape), mask)
    assert pack(torch.tensor([True, False, True])).tolist() == [5]


def test_propetl_mask_is_the_same_when_fixed() -> None:
    mask = Mask((6, 7), 0.3, CPU)
    before, prototype = mask.binary(), torch.randn(6, 7)
    expected = mask(prototype)
    mask.fix()
    assert not list(mask.parameters())
    assert torch.equal(mask.binary(), before)
    assert torch.equal(mask(prototype), expected)


def leaves(layer: nn.Module) -> dict[str, Tensor]:
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}


def straight_through(values: dict[str, Tensor], name: str, kept: int) -> Tensor:
    """A mask whose value is the dense one and whose gradient is that of |scores|."""
    scores = values[f"{name}.scores"]
    return dense_mask(scores.detach(), kept) + scores.abs() - scores.abs().detach()


def check(layer: Any, values: dict[str, Tensor], reference: Callable[[Tensor], Tensor]) -> None:
    """Same outputs and gradients, of the base layer too."""
    x, weights = torch.randn(3, 2, layer.d_in), torch.randn(3, 2, layer.d_out)
    torch.testing.assert_close(layer(x), reference(x), atol=1e-4, rtol=1e-4)
    (layer(x) * weights).sum().backward()
    (reference(x) * weights).sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, values[name].grad, atol=1e-4, rtol=1e-4)


def test_propetl_lora_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = MaskedLoRA(nn.Linear(6, 8), rank=3, scale=1.5, keep=0.5)
    values = leaves(layer)

    def reference(x: Tensor) -> Tensor:
        a = values["lora_A"] * straight_through(values, "mask_A", 9)
        b = values["lora_B"] * straight_through(values, "mask_B", 12)
        return x @ (values["base_layer.weight"] + 1.5 * b @ a).T + values["base_layer.bias"]

    check(layer, values, reference)


def test_propetl_adapter_is_its_formula() -> None:
    torch.manual_seed(0)
    layer = MaskedBottleneck(nn.Linear(6, 8), bottleneck=3, keep=0.5)
    values = leaves(layer)

    def reference(x: Tensor) -> Tensor:
        h = x @ values["base_layer.weight"].T + values["base_layer.bias"]
        down = values["down.weight"] * straight_through(values, "mask_down", 12)
        up = values["up.weight"] * straight_through(values, "mask_up", 12)
        return h + (h @ down.T + values["down.bias"]).clamp(min=0) @ up.T + values["up.bias"]

    check(layer, values, reference)


@pytest.mark.parametrize(
    ("model_type", "kind", "prototypes"),
    [("roberta", CLASSIFY, 2), ("bart", "seq2seq_lm", 2), ("llama", "causal_lm", 2), ("bloom", "causal_lm", 1)],
)
def test_propetl_lora_shares_one_prototype_per_role(
    model_type: str, kind: str, prototypes: int, make_model: Callable[..., Any]
) -> None:
    model = applied(SECTIONS[0], make_model(model_type, kind), kind)
    layers = [module for module in model.modules() if isinstance(module, MaskedLoRA)]
    for name in ("lora_A", "lora_B"):
        assert len({getattr(layer, name).data_ptr() for layer in layers}) == prototypes
    assert len({id(layer.mask_A) for layer in layers}) == len(layers) > prototypes


def test_propetl_adapter_shares_one_prototype(make_model: Callable[..., Any]) -> None:
    model = applied(SECTIONS[1], make_model("bart", "seq2seq_lm"), "seq2seq_lm")
    layers = [module for module in model.modules() if isinstance(module, MaskedBottleneck)]
    assert len(layers) == 4
    assert len({(id(layer.down), id(layer.up)) for layer in layers}) == 1
    assert len({tuple(layer.mask_up.binary().flatten().tolist()) for layer in layers}) == 4


PAPER = [
    ("propetl-adapter", "roberta-base", 1_278_784, 99_136),
    ("propetl-adapter", "roberta-large", 4_353_109, 175_189),
    ("propetl-lora", "roberta-base", 1_277_952, 98_304),
    ("propetl-lora", "roberta-large", 3_276_800, 131_072),
]


@pytest.mark.parametrize(("name", "alias", "trained", "stored"), PAPER)
def test_propetl_counts(name: str, alias: str, trained: int, stored: int) -> None:
    method = methods.resolve({"name": name}, task_kind=CLASSIFY, model=alias)
    assert method.adapter_parameters(shapes_of(paper_model(alias, AUTO_CLASSES[CLASSIFY]), has_head=True)) == trained
    model = method.apply(paper_model(alias, AUTO_CLASSES[CLASSIFY]), CLASSIFY, seed=0)
    assert method.stored_parameters(model, trained) == stored


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s["name"])
def test_propetl_stores_floats_of_the_prototype_and_bits_of_the_masks(
    section: dict[str, Any], make_model: Callable[..., Any], tmp_path: Path
) -> None:
    method = methods.resolve(section)
    model = method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0)
    shapes = shapes_of(make_model("roberta", CLASSIFY), has_head=True)
    method.save(model, tmp_path / "first")
    saved = load_file(tmp_path / "first" / FILE_NAME)
    floats = sum(value.numel() for value in saved.values() if value.is_floating_point())
    octets = sum(value.numel() for value in saved.values() if value.dtype is torch.uint8)
    trained = method.adapter_parameters(shapes)
    assert floats == shapes.head + method.stored_parameters(model, trained)
    assert 8 * octets == trained - method.stored_parameters(model, trained)

    loaded = method.load(make_model("roberta", CLASSIFY), tmp_path / "first", CLASSIFY)
    before, after = (modules_of(each, Mask) for each in (model, loaded))
    assert after.keys() == before.keys()
    assert all(torch.equal(mask.binary(), before[name].binary()) for name, mask in after.items())
    method.save(loaded, tmp_path / "second")
    again = load_file(tmp_path / "second" / FILE_NAME)
    assert again.keys() == saved.keys()
    assert all(torch.equal(again[name], saved[name]) for name in saved)


@pytest.mark.parametrize(("section", "rate"), [(SECTIONS[0], 3e-2), (SECTIONS[1], 3e-3)])
def test_propetl_scores_have_a_rate_of_their_own(
    section: dict[str, Any], rate: float, make_model: Callable[..., Any]
) -> None:
    method, settings = methods.resolve(section), TrainingConfig(learning_rate=1e-4)
    model = method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0)
    optimizer = make_optimizer(model, settings, method.hooks(model, settings, 10))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    scores = {id(mask.scores) for mask in modules_of(model, Mask).values()}
    assert len(scores) == (8 if section["name"] == "propetl-lora" else 4)
    assert {key for key, value in rates.items() if value == rate} == scores
    assert {value for key, value in rates.items() if key not in scores} == {1e-4}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda s: s["name"])
def test_propetl_stays_shared_through_a_checkpoint(
    section: dict[str, Any], make_model: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    method, settings, batch = methods.resolve(section), TrainingConfig(learning_rate=0.1), make_batch(CLASSIFY)

    def start() -> tuple[nn.Module, torch.optim.Optimizer, Hooks]:
        model = method.apply(make_model("roberta", CLASSIFY), CLASSIFY, seed=0)
        hooks = method.hooks(model, settings, 3)
        return model, make_optimizer(model, settings, hooks), hooks

    def step(model: Any, optimizer: torch.optim.Optimizer) -> Tensor:
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return model(**batch).logits

    model, optimizer, hooks = start()
    before = step(model, optimizer)
    save_checkpoint(tmp_path / "checkpoint", TrainState(), model, optimizer, hooks, Processes())
    torch.manual_seed(5)
    resumed, its_optimizer, its_hooks = start()
    load_checkpoint(tmp_path / "checkpoint", resumed, its_optimizer, its_hooks, Processes())
    assert torch.equal(resumed(**batch).logits, before)
    assert torch.equal(step(resumed, its_optimizer), step(model, optimizer))


@pytest.mark.parametrize("kind", [MaskedLoRA, MaskedBottleneck])
def test_propetl_trains_in_float32_on_a_half_precision_base(kind: Any) -> None:
    base = nn.Linear(8, 8, dtype=torch.bfloat16)
    layer = MaskedLoRA(base, 2, 1.0, 0.5) if kind is MaskedLoRA else MaskedBottleneck(base, 2, 0.5)
    x = torch.randn(3, 8, dtype=torch.bfloat16)
    assert layer(x).dtype is torch.bfloat16
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
    assert {p.dtype for name, p in layer.named_parameters() if "base_layer" not in name} == {torch.float32}
