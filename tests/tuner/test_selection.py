"""Which rows, columns and entries are chosen."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftConfig, get_peft_model
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench import RoCoFTLayer, calibrate
from rocoft_bench.tuner import needs_calibration, selection


def layers(model: nn.Module) -> dict[str, RoCoFTLayer]:
    return {name: m for name, m in model.named_modules() if isinstance(m, RoCoFTLayer)}


@pytest.mark.parametrize("mode", ["row", "column"])
def test_first(build: Any, wrap: Any, mode: str) -> None:
    for layer in layers(wrap(build(), mode=mode, rank=3)).values():
        assert layer.entries("default").indices.tolist() == [0, 1, 2]
        matrix = layer.matrix
        expected = matrix[:3] if mode == "row" else matrix[:, :3].t()
        assert torch.equal(layer.entries("default").weight, expected)


def test_random_depends_on_the_seed_and_the_layer(build: Any, wrap: Any, mode: str) -> None:
    chosen_at_random = {} if mode == "random" else {"selection": "random", "rank": 3}

    def chosen(seed: int) -> list[tuple[int, ...]]:
        model = wrap(build(), mode=mode, seed=seed, **chosen_at_random)
        return [tuple(layer.entries("default").indices.tolist()) for layer in layers(model).values()]

    once = chosen(1)
    assert once == chosen(1) != chosen(2)
    assert len(set(once)) > len(once) / 2
    assert all(list(indices) == sorted(set(indices)) for indices in once)


def test_random_entries_are_an_exact_share(build: Any, wrap: Any) -> None:
    for layer in layers(wrap(build(), mode="random", probability=0.1)).values():
        assert len(layer.entries("default").indices) == round(0.1 * layer.matrix.numel())


def wanda(model: nn.Module, batches: list[dict[str, Tensor]], mode: str) -> dict[str, Tensor]:
    """Scores from the activations of the plain model, all kept and normed at the end."""
    seen: dict[str, list[Tensor]] = {}

    def keep(module: nn.Module, args: tuple[Tensor], output: Tensor, name: str) -> None:
        seen.setdefault(name, []).append(args[0].reshape(-1, args[0].shape[-1]))

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            module.register_forward_hook(partial(keep, name=name))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    scores = {}
    for name, activations in seen.items():
        module = model.get_submodule(name)
        weight = module.weight.t() if isinstance(module, Conv1D) else module.weight
        each = weight.abs() * torch.cat(activations).norm(dim=0)
        scores[name] = torch.stack([row.sum() for row in (each if mode == "row" else each.t())])
    return scores


@pytest.mark.parametrize("mode", ["row", "column"])
@pytest.mark.parametrize("kind", ["max", "min", "mixed"])
def test_scored(
    build: Any, wrap: Any, make_batch: Callable[[int], dict[str, Tensor]], scramble: Any, mode: str, kind: str
) -> None:
    batches = [make_batch(seed) for seed in range(3)]
    scores = wanda(build().eval(), batches, mode)
    model = wrap(build(), mode=mode, rank=3, selection=kind)
    model.train()
    calibrate(model, batches)
    assert model.training
    for name, layer in layers(model).items():
        ranking = scores[name.removeprefix("base_model.model.")].argsort().tolist()
        expected = {"max": ranking[-3:], "min": ranking[:3], "mixed": [ranking[0], *ranking[-2:]]}[kind]
        assert layer.entries("default").indices.tolist() == sorted(expected)
        assert torch.equal(layer.entries("default").weight, layer._read("default"))


def test_calibration_streams(build: Any, wrap: Any, make_batch: Callable[[int], dict[str, Tensor]]) -> None:
    parts = [make_batch(seed) for seed in range(4)]
    whole = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    streamed, at_once = (wrap(build(), selection="max") for _ in range(2))
    inputs: list[weakref.ref[Tensor]] = []
    next(iter(layers(streamed).values())).register_forward_pre_hook(lambda m, args: inputs.append(weakref.ref(args[0])))

    def watched() -> Iterator[dict[str, Tensor]]:
        for part in parts:
            gc.collect()
            assert not any(ref() is not None for ref in inputs)  # earlier activations are gone
            yield part

    calibrate(streamed, watched())
    calibrate(at_once, [whole])
    assert len(inputs) == 4
    for a, b in zip(layers(streamed).values(), layers(at_once).values(), strict=True):
        assert torch.equal(a.entries("default").indices, b.entries("default").indices)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_count(build: Any, wrap: Any, make_batch: Any, side: str) -> None:
    rows = [
        {key: value[i : i + 1, : 2 + i] for key, value in make_batch(0).items() if key != "labels"} for i in range(4)
    ]
    padded = {
        key: torch.cat(
            [nn.functional.pad(r[key], (5 - r[key].shape[1], 0)[:: 1 if side == "left" else -1]) for r in rows]
        )
        for key in rows[0]
    }
    model, expected = wrap(build(), selection="max", rank=4), wrap(build(), selection="max", rank=4)
    calibrate(model, [padded | {"labels": torch.zeros(4, dtype=torch.long), "return_dict": True}])
    calibrate(expected, rows)
    for a, b in zip(layers(model).values(), layers(expected).values(), strict=True):
        assert torch.equal(a.entries("default").indices, b.entries("default").indices)


def test_padding_of_encoder_and_decoder_does_not_count(wrap: Any) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=0)
    t5 = T5ForConditionalGeneration(config)
    model, expected = (wrap(deepcopy(t5), selection="max", rank=4, task_type="SEQ_2_SEQ_LM") for _ in range(2))
    ids, labels = torch.randint(3, 40, (2, 4)), torch.randint(3, 40, (2, 4))
    padded = {
        "input_ids": torch.stack([ids[0], nn.functional.pad(ids[1, :2], (0, 2))]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
        "labels": torch.stack([nn.functional.pad(labels[0, :1], (0, 3), value=-100), labels[1]]),
    }
    calibrate(model, [padded])
    calibrate(
        expected,
        [{"input_ids": ids[:1], "labels": labels[:1, :1]}, {"input_ids": ids[1:, :2], "labels": labels[1:]}],
    )
    for a, b in zip(layers(model).values(), layers(expected).values(), strict=True):
        assert torch.equal(a.entries("default").indices, b.entries("default").indices)


def test_scored_selection_wants_calibration_once(build: Any, wrap: Any, make_batch: Any) -> None:
    model = wrap(build(), selection="max")
    with pytest.raises(RuntimeError, match=r"call rocoft_bench.calibrate\(model, batches\) first"):
        model(**make_batch(0))
    with pytest.raises(RuntimeError, match="calibrate"):
        model.merge_adapter()
    with pytest.raises(ValueError, match="reached 0 of"):
        calibrate(model, [])
    shared = model.peft_config["default"]
    calibrate(model, [make_batch(0)])
    model(**make_batch(0))
    with pytest.raises(ValueError, match="needs no calibration"):
        calibrate(model, [make_batch(0)])
    with pytest.raises(ValueError, match="'other' does not exist"):
        calibrate(model, [make_batch(0)], "other")
    model.add_adapter("other", replace(shared))  # an equal configuration: still to be calibrated
    assert needs_calibration(model, "other")
    assert not needs_calibration(model)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from(["row", "column", "random"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_write_puts_back_what_read_took_and_nothing_else(
    d_out: int, d_in: int, mode: str, transposed: bool, seed: int
) -> None:
    generator = selection.layer_generator(seed, "a layer")
    weight = torch.from_numpy(generator.standard_normal((d_out, d_in)))
    weight = weight.t().contiguous().t() if transposed else weight
    size = {"row": d_out, "column": d_in, "random": d_out * d_in}[mode]
    indices = selection.sample(size, generator.integers(1, size, endpoint=True), generator)
    before, values = weight.clone(), selection.read(weight, indices, mode)
    assert values.numel() * size == len(indices) * weight.numel()
    selection.write(weight, indices, mode, values + 1)
    assert torch.equal(selection.read(weight, indices, mode), values + 1)
    assert int((weight != before).sum()) == values.numel()
    selection.write(weight, indices, mode, values)
    assert torch.equal(weight, before)


def test_a_calibrated_configuration_used_again_needs_calibration(
    build: Any, wrap: Any, make_batch: Any, tmp_path: Path
) -> None:
    """The selection belongs to the adapter, however the configuration reaches another one."""
    model, batch = wrap(build(), selection="max"), make_batch(0)
    calibrate(model, [batch])
    model.save_pretrained(tmp_path)
    used = model.peft_config["default"]
    stored: Any = PeftConfig.from_pretrained(tmp_path)
    stored.inference_mode = False
    model.add_adapter("other", replace(used))
    model.set_adapter("other")
    for again in (model, get_peft_model(build(), used), get_peft_model(build(), stored)):
        with pytest.raises(RuntimeError, match=r"call rocoft_bench.calibrate\(model, batches\) first"):
            again(**batch)
    calibrate(model, [batch], "other")
    for layer in layers(model).values():
        assert torch.equal(layer.entries("other").indices, layer.entries("default").indices)


def test_entry_numbers_beyond_int32() -> None:
    numbers = selection.sample(2**33, 50, selection.layer_generator(0, "wide"))
    assert numbers.dtype == torch.int64
    assert 2**32 < int(numbers.max()) < 2**33
    assert int(numbers.min()) >= 0
    assert selection.sample(2**31, 3, selection.layer_generator(0, "wide")).dtype == torch.int32
