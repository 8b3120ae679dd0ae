"""Rows and columns that are chosen anew during training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from rocoft_bench import RoCoFTLayer, calibrate
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
