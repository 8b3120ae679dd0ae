"""The kernel of what a method trains, before it is trained: of any method that can be applied to the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rocoft_bench import methods
from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError
from rocoft_bench.ntk.analysis import analyse
from rocoft_bench.ntk.observer import Observer
from rocoft_bench.ntk.preparing import Prepared, prepare
from rocoft_bench.ntk.settings import KernelSettings
from tests.ntk.models import gram

NAMES = ("rocoft", "lora", "bitfit", "ia3", "ln-tuning", "adapter", "loha", "vera", "prefix-tuning", "full")


def settings_of(masked_lm: Path, rows_dir: Path, **changes: Any) -> KernelSettings:
    model = ModelConfig(name=str(masked_lm))
    return KernelSettings(model=model, task="mr", shots=4, data_dir=rows_dir, precision="float64", **changes)


def explicit(prepared: Prepared) -> torch.Tensor:
    """K from the gradients of one example at a time."""
    model = prepared.capturer.model
    chosen = [model.get_parameter(name) for name in sorted(prepared.parameters.trained)]
    for parameter in chosen:
        parameter.requires_grad_(True)
    rows = []
    for example in prepared.train[13].examples:
        found = torch.autograd.grad(prepared.capturer.outputs([example]).sum(), chosen, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in found if g is not None]))
    model.requires_grad_(False)
    return gram(torch.stack(rows).unsqueeze(1))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_that_of_explicit_gradients(masked_lm: Path, rows_dir: Path, name: str) -> None:
    assert name in methods.METHODS
    prepared = prepare(settings_of(masked_lm, rows_dir, kernels=("trained",), method={"name": name}), [13])
    block = prepared.capturer.capture(prepared.train[13].examples, 4)
    found = prepared.engine([13]).kernels(block)["trained/13"]
    expected = explicit(prepared)
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    assert expected.abs().max() > 0


def test_it_is_compared_with_the_kernel_of_all(masked_lm: Path, rows_dir: Path, tmp_path: Path) -> None:
    [alone] = analyse(
        [settings_of(masked_lm, rows_dir, kernels=("trained",), method={"name": "rocoft", "rank": 2})],
        tmp_path,
        Observer(),
    )
    assert alone.kernels["K_trained"].relative_difference == {}
    analyse([settings_of(masked_lm, rows_dir, kernels=("full", "row"), rank=3)], tmp_path, Observer())
    own = settings_of(masked_lm, rows_dir, kernels=("trained",), method={"name": "rocoft", "rank": 3})
    [record] = analyse([own], tmp_path, Observer())
    [rows] = analyse([settings_of(masked_lm, rows_dir, kernels=("row",), rank=3)], tmp_path / "rows", Observer())
    trained = record.kernels["K_trained"]
    assert trained.relative_difference["2"] > 0
    assert trained.eigenvalues == pytest.approx(rows.kernels["K_row"].eigenvalues, rel=1e-9, abs=1e-9)
    assert trained.parameters == rows.kernels["K_row"].parameters


def test_what_cannot_be_applied_is_said(masked_lm: Path, rows_dir: Path) -> None:
    own = settings_of(masked_lm, rows_dir, kernels=("trained",), method={"name": "prompt-tuning"})
    with pytest.raises(UserError, match="--method prompt-tuning: "):
        prepare(own, [13])
    with pytest.raises(UserError, match=r"unknown method 'lorra'"):
        prepare(own.model_copy(update={"method": {"name": "lorra"}}), [13])
    with pytest.raises(ValueError, match="give both"):
        settings_of(masked_lm, rows_dir, method={"name": "lora"})
