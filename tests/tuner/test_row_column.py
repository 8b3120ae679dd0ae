"""Rows and columns of the same matrices together, each entry where they cross once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.func import functional_call

from rocoft_bench import RoCoFTConfig, RoCoFTLayer, calibrate, save_as_lora
from rocoft_bench.tuner.selection import by_score, crossed, wanda_scores


def layers(model: nn.Module) -> dict[str, RoCoFTLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, RoCoFTLayer)}


def is_trained(layer: RoCoFTLayer) -> Tensor:
    mask = torch.zeros(layer.matrix.numel(), dtype=torch.bool)
    mask[layer.entries("default").indices.long()] = True
    return mask.view(layer.matrix.shape)


@pytest.mark.parametrize("chosen", ["first", "random", "max"])
@pytest.mark.parametrize("rank", [2, 20])
def test_whole_rows_and_columns_each_entry_once(
    build: Any, wrap: Any, make_batch: Any, chosen: str, rank: int, recwarn: Any
) -> None:
    model = wrap(build(), mode="row_column", rank=rank, selection=chosen)
    if chosen == "max":
        calibrate(model, [make_batch(0)])
    for layer in layers(model).values():
        d_out, d_in = layer.matrix.shape
        rows, columns = min(rank, d_out), min(rank, d_in)
        mask, entries = is_trained(layer), layer.entries("default")
        assert len(entries.indices) == len(set(entries.indices.tolist())) == int(mask.sum())
        assert entries.indices.dtype == torch.int32
        assert entries.weight.numel() == d_out * d_in - (d_out - rows) * (d_in - columns)
        if rows < d_out and columns < d_in:
            assert (int(mask.all(1).sum()), int(mask.all(0).sum())) == (rows, columns)
        assert torch.equal(entries.weight, layer.matrix[mask])


def test_both_are_chosen_by_score() -> None:
    weight, norms = torch.randn(6, 5), torch.rand(5)
    rows, columns = (by_score(wanda_scores(weight, norms, mode), 2, "max") for mode in ("row", "column"))
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[rows.long()], mask[:, columns.long()] = True, True
    assert torch.equal(crossed(rows, columns, weight.shape).long(), mask.flatten().nonzero().flatten())
    twice = crossed(rows, columns, torch.Size((2, 6, 5)))
    assert torch.equal(twice.long(), torch.cat([mask, mask]).flatten().nonzero().flatten())


def test_outputs_and_gradients_are_those_of_dense_matrices(
    build: Any, wrap: Any, make_batch: Any, scramble: Any
) -> None:
    model, dense, batch = wrap(build(), mode="row_column").eval(), build().eval(), make_batch(0)
    scramble(model)
    values = {name: p.detach().clone().requires_grad_() for name, p in dense.named_parameters()}
    for name, layer in layers(model).items():
        weight = values[f"{name.removeprefix('base_model.model.')}.weight"]
        matrix = weight.data if weight.shape == layer.matrix.shape and not is_transposed(layer) else weight.data.t()
        matrix[is_trained(layer)] = layer.entries("default").weight.detach()
    head = {n: p for n, p in model.named_parameters() if "modules_to_save.default" in n}
    for name, p in head.items():
        values[name.removeprefix("base_model.model.").replace("modules_to_save.default.", "")].data.copy_(p)
    expected = functional_call(dense, values, kwargs=batch)
    actual = model(**batch)
    torch.testing.assert_close(actual.logits, expected.logits)
    expected.loss.backward()
    actual.loss.backward()
    for name, layer in layers(model).items():
        gradient = values[f"{name.removeprefix('base_model.model.')}.weight"].grad
        assert gradient is not None
        gradient = gradient.t() if is_transposed(layer) else gradient
        torch.testing.assert_close(layer.entries("default").weight.grad, gradient[is_trained(layer)])


def is_transposed(layer: RoCoFTLayer) -> bool:
    return type(layer.get_base_layer()).__name__ == "Conv1D"


def test_saved_loaded_merged_and_exported(
    build: Any, wrap: Any, make_batch: Any, scramble: Any, tmp_path: Path
) -> None:
    model, batch = wrap(build(), mode="row_column", selection="max", train_bias=True).eval(), make_batch(0)
    calibrate(model, [batch])
    scramble(model)
    expected = model(**batch).logits
    model.save_pretrained(tmp_path / "adapter")
    save_as_lora(model, tmp_path / "lora")
    for folder in ("adapter", "lora"):
        loaded = PeftModel.from_pretrained(build(), tmp_path / folder).eval()
        torch.testing.assert_close(loaded(**batch).logits, expected, rtol=1e-5, atol=1e-5)
    model.merge_adapter()
    torch.testing.assert_close(model(**batch).logits, expected)
    model.unmerge_adapter()
    assert torch.equal(model(**batch).logits, expected)


def test_training_goes_on_where_it_stopped(build: Any, wrap: Any, make_batch: Any, tmp_path: Path) -> None:
    def steps(model: Any, optimizer: torch.optim.Optimizer, first: int, count: int) -> None:
        for step in range(first, first + count):
            model(**make_batch(step)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    def start() -> tuple[Any, torch.optim.Optimizer]:
        model = wrap(build(), mode="row_column", selection="random").train()
        return model, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)

    whole, optimizer = start()
    steps(whole, optimizer, 0, 4)
    first, optimizer = start()
    steps(first, optimizer, 0, 2)
    first.save_pretrained(tmp_path)
    resumed = PeftModel.from_pretrained(build(), tmp_path, is_trainable=True).train()
    again = torch.optim.AdamW([p for p in resumed.parameters() if p.requires_grad], lr=1e-2)
    again.load_state_dict(optimizer.state_dict())
    steps(resumed, again, 2, 2)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"probability=0\.2 has no meaning in mode 'row_column': set rank"):
        RoCoFTConfig(mode="row_column", probability=0.2)
