"""Adapters made of others, and adapters in the place of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn

from rocoft_bench import RoCoFTConfig, RoCoFTLayer, calibrate, hotswap

NO_HEAD: dict[str, Any] = {"task_type": None, "train_bias": True}


def two_adapters(build: Any, wrap: Any, scramble: Any, mode: str, **settings: Any) -> Any:
    size: dict[str, Any] = {"probability": 0.2} if mode == "random" else {"rank": 2}
    model = wrap(build(), mode=mode, **NO_HEAD)
    scramble(model)
    model.add_adapter("other", RoCoFTConfig(mode=mode, **(size | NO_HEAD | settings)))
    model.set_adapter("other")
    scramble(model)
    scramble(model)
    return model.eval()


def layers(model: nn.Module) -> list[RoCoFTLayer]:
    return [m for m in model.modules() if isinstance(m, RoCoFTLayer)]


def dense_change(model: Any, layer: RoCoFTLayer, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    with layer.frozen():
        frozen, bias = layer.matrix.clone(), layer.bias.detach().clone()
    layer.merge(adapter_names=[name])
    changed = layer.matrix - frozen, layer.bias.detach() - bias
    layer.unmerge()
    return changed


def test_same_selection_gives_weighted_values(
    build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any, tmp_path: Path
) -> None:
    model = two_adapters(build, wrap, scramble, mode)
    model.add_weighted_adapter(["default", "other"], [0.25, 0.75], "both")
    for layer in layers(model):
        one, two, both = (layer.entries(name) for name in ("default", "other", "both"))
        assert torch.equal(both.indices, one.indices)
        torch.testing.assert_close(both.weight, 0.25 * one.weight + 0.75 * two.weight)
        torch.testing.assert_close(both.bias, 0.25 * one.bias + 0.75 * two.bias)
    model.set_adapter("both")
    expected = model(**make_batch(0)).logits
    model.save_pretrained(tmp_path, selected_adapters=["both"])
    loaded = PeftModel.from_pretrained(build(), tmp_path / "both").eval()
    assert torch.equal(loaded(**make_batch(0)).logits, expected)


@pytest.mark.parametrize("mode", ["row", "column"])
@pytest.mark.parametrize(
    "settings",
    [{"selection": "random"}, {"rank": 3, "selection": "max"}, {"layers_to_transform": [0], "rank": 5}],
    ids=["random", "scored", "other layers"],
)
def test_other_selections_give_the_union(
    build: Any, wrap: Any, mode: str, make_batch: Any, scramble: Any, settings: dict[str, Any], tmp_path: Path
) -> None:
    model = wrap(build(), mode=mode, selection="random", seed=3, **NO_HEAD)
    model.add_adapter("other", RoCoFTConfig(mode=mode, **({"rank": 2} | NO_HEAD | settings)))
    if settings.get("selection") == "max":
        calibrate(model, [make_batch(0)], "other")
    scramble(model)
    model.set_adapter("other")
    scramble(model)
    names, weights = ["default", "other"], [0.5, -2.0]
    model.eval().add_weighted_adapter(names, weights, "both")
    for layer in layers(model):
        present = [(name, weight) for name, weight in zip(names, weights, strict=True) if name in layer.rocoft_adapter]
        union = set().union(*(layer.entries(name).indices.tolist() for name, _ in present))
        assert layer.entries("both").indices.tolist() == sorted(union)
        expected = [sum(w * dense_change(model, layer, n)[part] for n, w in present) for part in (0, 1)]
        for actual, wanted in zip(dense_change(model, layer, "both"), expected, strict=True):
            torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-5)
    model.set_adapter("both")
    logits = model(**make_batch(0)).logits
    model.save_pretrained(tmp_path, selected_adapters=["both"])
    loaded = PeftModel.from_pretrained(build(), tmp_path / "both").eval()
    assert torch.equal(loaded(**make_batch(0)).logits, logits)


@pytest.mark.parametrize(
    ("names", "weights", "new", "message"),
    [
        (["default", "nosuch"], [1, 1], "new", "Adapter nosuch does not exist"),
        (["default", "default"], [1, 1], "new", "each adapter once"),
        (["default", "other"], [1], "new", "1 weights for the adapters"),
        (["default", "other"], [1, 1], "new", "adapters of modes column, row make no adapter of one mode"),
        (["default"], [1], "other", "an adapter 'other' already"),
    ],
)
def test_what_cannot_be_weighted_is_refused(
    build: Any, wrap: Any, names: list[str], weights: list[float], new: str, message: str
) -> None:
    model = wrap(build(), mode="row")
    model.add_adapter("other", RoCoFTConfig(mode="column"))
    with pytest.raises(ValueError, match=message):
        model.add_weighted_adapter(names, weights, new)
    assert set(model.peft_config) == {"default", "other"}


def test_ways_to_combine_products_of_low_rank_are_refused(build: Any, wrap: Any) -> None:
    with pytest.raises(ValueError, match="combination_type='svd' is for products of low rank"):
        wrap(build()).add_weighted_adapter(["default"], [1], "new", combination_type="svd")


def test_entries_at_other_places_and_two_heads_are_refused(build: Any, wrap: Any) -> None:
    model = wrap(build(), mode="random", task_type=None)
    model.add_adapter("other", RoCoFTConfig(mode="random", probability=0.2, seed=5))
    with pytest.raises(ValueError, match="other single entries"):
        model.add_weighted_adapter(["default", "other"], [1, 1], "new")
    model = wrap(build())
    model.add_adapter("other", RoCoFTConfig(rank=2, task_type="SEQ_CLS"))
    with pytest.raises(ValueError, match="modules_to_save"):
        model.add_weighted_adapter(["default", "other"], [1, 1], "new")


def saved_adapters(folder: Path, build: Any, wrap: Any, count: int, **settings: Any) -> list[Path]:
    """Of the same shapes and other values and, if that is chosen at random, selections."""
    folders = []
    for seed in range(count):
        model = wrap(build(), **(settings | NO_HEAD | {"seed": seed}))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
        model.save_pretrained(folder / str(seed))
        folders.append(folder / str(seed))
    return folders


def test_hotswapping_recompiles_nothing(
    both_builds: Any, wrap: Any, mode: str, make_batch: Any, tmp_path: Path
) -> None:
    chosen, build = {} if mode == "random" else {"selection": "random"}, both_builds["roberta"]
    folders = saved_adapters(tmp_path, build, wrap, 10, mode=mode, **chosen)
    batch = {"input_ids": make_batch(0)["input_ids"]}
    model = PeftModel.from_pretrained(build(), folders[0]).eval()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        compiled(**batch)
        with torch._dynamo.config.patch(error_on_recompile=True):
            for folder in folders:
                hotswap(compiled, folder)
                expected = PeftModel.from_pretrained(build(), folder).eval()(**batch).logits
                torch.testing.assert_close(compiled(**batch).logits, expected)
                torch.testing.assert_close(model(**batch).logits, expected)


def test_what_cannot_be_swapped_is_refused(build: Any, wrap: Any, tmp_path: Path) -> None:
    rows, columns = (saved_adapters(tmp_path / mode, build, wrap, 1, mode=mode)[0] for mode in ("row", "column"))
    (wide,) = saved_adapters(tmp_path / "wide", build, wrap, 1, rank=4)
    model = PeftModel.from_pretrained(build(), rows)
    with pytest.raises(ValueError, match=r"of other layers or modes, as .*_indices shows"):
        hotswap(model, columns)
    with pytest.raises(ValueError, match=r"has shape \(4,.* and \(2,.* in adapter 'default'"):
        hotswap(model, wide)
    model.merge_adapter()
    with pytest.raises(ValueError, match=r"is merged: call model.unmerge_adapter\(\) first"):
        hotswap(model, rows)
