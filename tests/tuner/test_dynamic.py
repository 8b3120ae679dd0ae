"""Rows and columns that are chosen anew during training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor
from torch.func import functional_call

from rocoft_bench import RoCoFTLayer, calibrate, save_as_lora
from rocoft_bench.tuner import standing_values
from rocoft_bench.tuner.dynamic import LineScores

LINES = pytest.mark.parametrize("mode", ["row", "column", "row_column"])


def layers(model: Any) -> dict[str, RoCoFTLayer]:
    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, RoCoFTLayer)
    }


def dense_gradients(model: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of whole matrices (d_out, d_in), with the trained values in them."""
    model.merge_adapter()
    weights = {
        f"base_model.model.{name}.base_layer.weight": layer.get_base_layer().weight.detach().clone().requires_grad_()
        for name, layer in layers(model).items()
    }
    functional_call(model, weights, kwargs=batch).loss.backward()
    model.unmerge_adapter()
    gradients = zip(layers(model).items(), weights.values(), strict=True)
    return {name: w.grad.t() if is_conv(layer) else w.grad for (name, layer), w in gradients}


def is_conv(layer: RoCoFTLayer) -> bool:
    return type(layer.get_base_layer()).__name__ == "Conv1D"


@LINES
def test_the_largest_gradients_are_chosen(build: Any, wrap: Any, make_batch: Any, scramble: Any, mode: str) -> None:
    model = wrap(build(), mode=mode, rank=3, selection="random").train()
    scramble(model)
    dense = dense_gradients(model, make_batch(0))
    scores = LineScores(model)
    with scores.watching():
        model(**make_batch(0)).loss.backward()
    model(**make_batch(1)).loss.backward()  # is not watched any more
    scores.reselect()
    for name, layer in layers(model).items():
        rows, columns = (dense[name].abs().sum(dim).topk(3).indices for dim in (1, 0))
        mask = torch.zeros(layer.matrix.shape, dtype=torch.bool)
        if mode != "column":
            mask[rows] = True
        if mode != "row":
            mask[:, columns] = True
        expected = {"row": mask.all(1), "column": mask.all(0), "row_column": mask.flatten()}[mode]
        assert layer.entries("default").indices.tolist() == expected.nonzero().flatten().tolist()


@LINES
def test_what_stays_keeps_its_values_and_what_leaves_goes_back(
    build: Any, wrap: Any, make_batch: Any, scramble: Any, mode: str
) -> None:
    model = wrap(build(), mode=mode, rank=6, selection="random").train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    scores = LineScores(model)
    with scores.watching():
        model(**make_batch(0)).loss.backward()
    optimizer.step()
    before = {
        name: (e.indices.tolist(), e.weight.detach().clone(), optimizer.state[e.weight]["exp_avg"].clone())
        for name, layer in layers(model).items()
        for e in [layer.entries("default")]
    }
    scores.reselect(optimizer)
    stayed = 0
    for name, layer in layers(model).items():
        entries, (indices, values, averages) = layer.entries("default"), before[name]
        state = optimizer.state[entries.weight]
        pretrained = layer._read("default")
        for place, index in enumerate(entries.indices.tolist()):
            if index in indices:
                stayed += 1
                assert torch.equal(entries.weight[place], values[indices.index(index)])
                assert torch.equal(state["exp_avg"][place], averages[indices.index(index)])
            else:
                assert torch.equal(entries.weight[place], pretrained[place])
                assert not state["exp_avg"][place].any()
                assert not state["exp_avg_sq"][place].any()
    assert 0 < stayed < sum(len(indices) for indices, *_ in before.values())
    for layer, other in zip(layers(model).values(), layers(wrap(build())).values(), strict=True):
        assert torch.equal(layer.matrix, other.matrix)


@LINES
def test_wanda_chooses_as_calibration_does(build: Any, wrap: Any, make_batch: Any, mode: str) -> None:
    model, calibrated = (wrap(build(), mode=mode, rank=3, selection=by) for by in ("random", "max"))
    batch = {k: torch.ones_like(v) if k == "attention_mask" else v for k, v in make_batch(0).items()}  # no padding
    calibrate(calibrated, [batch])
    scores = LineScores(model.eval(), by="wanda")
    with scores.watching():
        model(**batch)
    scores.reselect()
    for layer, other in zip(layers(model).values(), layers(calibrated).values(), strict=True):
        assert torch.equal(layer.entries("default").indices, other.entries("default").indices)


@LINES
def test_random_draws_differ_and_repeat_with_the_seed(build: Any, wrap: Any, mode: str) -> None:
    drawn = []
    for seed in (0, 0, 1):
        model = wrap(build(), mode=mode, rank=3)
        torch.manual_seed(seed)
        LineScores(model, by="random").reselect()
        drawn.append([layer.entries("default").indices.tolist() for layer in layers(model).values()])
    assert drawn[0] == drawn[1] != drawn[2]


def test_gradients_must_have_been_watched(build: Any, wrap: Any) -> None:
    with pytest.raises(RuntimeError, match="gradients were watched in 0 of"):
        LineScores(wrap(build())).reselect()
    with pytest.raises(ValueError, match="single entries"):
        LineScores(wrap(build(), mode="random"))
    with pytest.raises(ValueError, match="gradient, wanda, random, not by 'first'"):
        LineScores(wrap(build()), by="first")  # type: ignore[arg-type]


def mask_of(layer: RoCoFTLayer) -> Tensor:
    """Of what is trained, the way round that the base layer stores its weight."""
    mask, entries = torch.zeros(layer.matrix.shape, dtype=torch.bool), layer.entries("default")
    lines = {"row": mask, "column": mask.t(), "random": mask.view(-1)}[entries.mode]
    lines[entries.indices.long()] = True
    return mask.t() if is_conv(layer) else mask


class DenseAdamW:
    """Of a whole matrix, of which only what a mask says is trained."""

    def __init__(self, weight: Tensor, mask: Tensor, rate: float, decay: float) -> None:
        self.pretrained, self.weight, self.mask, self.rate, self.decay = weight, weight.clone(), mask, rate, decay
        self.mean, self.square, self.returned = torch.zeros_like(weight), torch.zeros_like(weight), 0

    def step(self, gradient: Tensor, number: int) -> None:
        self.mean = torch.where(self.mask, self.mean.lerp(gradient, 0.1), 0)
        self.square = torch.where(self.mask, self.square.lerp(gradient.square(), 0.001), 0)
        root = (self.square / (1 - 0.999**number)).sqrt() + 1e-8
        moved = self.weight * (1 - self.rate * self.decay) - self.rate * self.mean / (1 - 0.9**number) / root
        self.weight = torch.where(self.mask, moved, self.weight)

    def reselect(self, mask: Tensor, keeps: bool) -> None:
        self.returned += int((mask & ~self.mask & (self.weight != self.pretrained)).sum())
        self.mean, self.square = self.mean * (mask & self.mask), self.square * (mask & self.mask)
        self.weight = self.weight if keeps else torch.where(mask, self.weight, self.pretrained)
        self.mask = mask


@LINES
@pytest.mark.parametrize("keeps", [False, True])
def test_training_is_that_of_dense_matrices_of_which_a_part_is_trained(
    build: Any, wrap: Any, make_batch: Any, mode: str, keeps: bool
) -> None:
    """Every value, what has left and come back too, in float64; the optimizer decays weights."""
    model, dense = wrap(build().double(), mode=mode, rank=5).train(), build().double().train()
    own = layers(model)
    optimizer = torch.optim.AdamW([layer.entries("default").weight for layer in own.values()], 0.05, weight_decay=0.1)
    pretrained = {name: dense.get_parameter(f"{name}.weight").detach().clone() for name in own}
    reference = {name: DenseAdamW(pretrained[name], mask_of(layer), 0.05, 0.1) for name, layer in own.items()}
    scores = LineScores(model, by="random", keeps=keeps)
    for step in range(1, 9):
        loss = model(**make_batch(step)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        weights = {f"{name}.weight": one.weight.requires_grad_() for name, one in reference.items()}
        expected = functional_call(dense, weights, kwargs=make_batch(step)).loss
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
        gradients = torch.autograd.grad(expected, list(weights.values()))
        with torch.no_grad():
            for one, gradient in zip(reference.values(), gradients, strict=True):
                one.step(gradient, step)
            if step % 2 == 0:
                scores.reselect(optimizer)
                for name, one in reference.items():
                    one.reselect(mask_of(own[name]), keeps)
    assert any(one.returned for one in reference.values()) == keeps
    model.merge_adapter()
    for name, layer in own.items():
        torch.testing.assert_close(layer.get_base_layer().weight, reference[name].weight, rtol=1e-9, atol=1e-12)
    model.unmerge_adapter()
    assert all(torch.equal(layer.get_base_layer().weight, pretrained[name]) for name, layer in own.items())


def with_kept_values(model: Any, scramble: Any) -> Any:
    """What has been trained, left and kept, twice."""
    for _ in range(2):
        scramble(model)
        LineScores(model, by="random", keeps=True).reselect()
    scramble(model)
    return model.eval()


@LINES
def test_what_is_kept_is_a_part_of_the_adapter(
    build: Any, wrap: Any, make_batch: Any, scramble: Any, mode: str, tmp_path: Path
) -> None:
    model, batch = with_kept_values(wrap(build(), mode=mode, rank=3, train_bias=True), scramble), make_batch(0)
    expected = model(**batch).logits
    with model.disable_adapter():
        assert torch.equal(model(**batch).logits, build().eval()(**batch).logits)
    with torch.no_grad(), standing_values(model):
        assert torch.equal(model(**batch).logits, expected)
    model.save_pretrained(tmp_path / "adapter")
    for low_cpu in (False, True):
        loaded = PeftModel.from_pretrained(build(), tmp_path / "adapter", low_cpu_mem_usage=low_cpu).eval()
        assert torch.equal(loaded(**batch).logits, expected)
    save_as_lora(model, tmp_path / "lora")
    as_lora = PeftModel.from_pretrained(build(), tmp_path / "lora").eval()
    torch.testing.assert_close(as_lora(**batch).logits, expected, rtol=1e-5, atol=1e-5)
    for layer in layers(model).values():
        x = torch.randn(4, layer.in_features)
        torch.testing.assert_close(layer(x, adapter_names=["default"] * 4), layer(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["row", "column"])
def test_a_weighted_adapter_trains_what_is_kept_too(
    build: Any, wrap: Any, make_batch: Any, scramble: Any, mode: str
) -> None:
    model, batch = with_kept_values(wrap(build(), mode=mode, rank=3), scramble), make_batch(0)
    expected = model(**batch).logits
    model.add_weighted_adapter(["default"], [1.0], "union")
    model.set_adapter("union")
    torch.testing.assert_close(model(**batch).logits, expected, rtol=1e-5, atol=1e-5)
    for layer in layers(model).values():
        assert layer.entries("union").indices.tolist() == sorted(layer.entries("default").all_indices.tolist())
    crossed = with_kept_values(wrap(build(), mode="row_column"), scramble)
    with pytest.raises(ValueError, match="other single entries"):
        crossed.add_weighted_adapter(["default"], [1.0], "union")


def test_loading_takes_over_what_is_kept_there_and_nothing_else(build: Any, wrap: Any, scramble: Any) -> None:
    model, plain = with_kept_values(wrap(build(), mode="column"), scramble), wrap(build(), mode="column")
    model.add_adapter("other", model.peft_config["default"])
    pairs = [[layer.entries(name) for name in ("default", "other")] for layer in layers(model).values()]
    assert all(torch.equal(default.kept_values, other.kept_values) for default, other in pairs)
    set_peft_model_state_dict(model, get_peft_model_state_dict(plain), adapter_name="other")
    assert all(default.kept_values is not None and other.kept_values is None for default, other in pairs)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("kept_values", None, r"kept_indices of .* has shape \(\d+,\), the base model's layer wants \(0,\)"),
        ("kept_indices", None, r"kept_values of .* has shape \(\d+, 16\), the base model's layer wants \(0, 16\)"),
        ("kept_values", lambda values: values[:, 1:], r"kept_values of .* has shape"),
        ("kept_indices", lambda indices: indices + 1000, "kept_indices of .* are not all below"),
        ("kept_indices", lambda indices: indices - 1000, "kept_indices of .* are not all below"),
    ],
)
def test_what_is_kept_must_fit(build: Any, wrap: Any, scramble: Any, part: str, change: Any, message: str) -> None:
    model = with_kept_values(wrap(build()), scramble)
    saved = get_peft_model_state_dict(model)
    name = next(key for key in saved if key.endswith(part))
    value = saved.pop(name)
    if change is not None:
        saved[name] = change(value)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        set_peft_model_state_dict(model, saved)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())
