"""Whole analyses: what they leave, that they go on where they stopped, and that kernels are not made twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rocoft_bench.config import ModelConfig
from rocoft_bench.engine.failure import NotFiniteError
from rocoft_bench.engine.interrupt import Interrupted
from rocoft_bench.errors import UserError
from rocoft_bench.ntk import analyse as analysis
from rocoft_bench.ntk import kernel_inputs
from rocoft_bench.ntk.analyse import analyse
from rocoft_bench.ntk.kernel_files import KernelDirectory, read_tensors
from rocoft_bench.ntk.kernel_settings import KernelSettings
from rocoft_bench.ntk.kernels import Capturer, GradientProducts
from rocoft_bench.ntk.training_kernels import KernelObserver
from rocoft_bench.runs import KernelRecord

Make = Callable[..., KernelSettings]


@pytest.fixture
def make(masked_lm: Path, rows_dir: Path) -> Make:
    def settings(task: str = "mr", **changes: Any) -> KernelSettings:
        model = ModelConfig(name=str(masked_lm))
        return KernelSettings(**{"model": model, "task": task, "shots": 4, "data_dir": rows_dir, **changes})

    return settings


class Stops(KernelObserver):
    """Stops after so many blocks."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advanced(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Interrupted


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many examples each capture was of."""
    seen: list[int] = []
    original = Capturer.capture

    def counted(self: Capturer, examples: Any, batch_size: int) -> Any:
        seen.append(len(examples))
        return original(self, examples, batch_size)

    monkeypatch.setattr(Capturer, "capture", counted)
    return seen


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    original = kernel_inputs.make_budget

    def planned(*arguments: Any) -> Any:
        return replace(original(*arguments), block=3, batch=2)

    monkeypatch.setattr(kernel_inputs, "make_budget", planned)


def folder_of(settings: KernelSettings, output: Path) -> KernelDirectory:
    return KernelDirectory(output / settings.folder_name)


def kernels_of(settings: KernelSettings, output: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder_of(settings, output).kernels) or {}


def test_what_an_analysis_leaves(make: Make, tmp_path: Path) -> None:
    group = [make(seed=seed, kernels=("full", "row", "head")) for seed in (13, 21)]
    records = analyse(group, tmp_path, KernelObserver())
    for own, record in zip(group, records, strict=True):
        assert record.status == "ok"
        assert (record.task, record.shots, record.seed) == ("mr", 4, own.seed)
        assert record.data["train_rows"] == 8
        assert record.data["eval_rows"] == 20
        assert list(record.kernels) == ["K_full", "K_row", "K_head"]
        assert record.kernels["K_full"].relative_difference == {}
        assert set(record.kernels["K_row"].relative_difference) == {"1", "2"}
        assert len(record.kernels["K_row"].eigenvalues) == 8
        assert record.prompt["template"] in record.protocol
        assert record.prompt["evaluation"]["mask_position"] < len(record.prompt["evaluation"]["input_ids"])
        assert kernels_of(own, tmp_path)["K_row"].shape == (8, 8)
        assert not folder_of(own, tmp_path).work.exists()
    assert records[0].settings_hash == records[1].settings_hash
    assert records[0].config_hash != records[1].config_hash
    assert records[0].data["train"]["sha256"] != records[1].data["train"]["sha256"]


def test_several_classes_and_f1(make: Make, tmp_path: Path) -> None:
    [record] = analyse([make("trec", kernels=("row",))], tmp_path, KernelObserver())
    assert kernels_of(make("trec", kernels=("row",)), tmp_path)["K_row"].shape == (4 * 6 * 6, 4 * 6 * 6)
    assert record.kernels["K_row"].f1 is None
    [record] = analyse([make("mrpc", kernels=("row",), logits="all")], tmp_path, KernelObserver())
    assert record.kernels["K_row"].f1 is not None
    assert len(record.kernels["K_row"].eigenvalues) == 4 * 2 * 2


@pytest.mark.parametrize("task", ["mr", "trec"])
@pytest.mark.parametrize("solver", ["strict", "published", "ridge"])
def test_predictions_with_and_without_test_kernels(make: Make, tmp_path: Path, task: str, solver: str) -> None:
    scores = []
    for test_kernels in (False, True):
        changes = {"solver": solver, "ridge": 0.01, "precision": "float64", "f0": solver != "published"}
        own = make(task, shots=5, kernels=("full", "lora"), test_kernels=test_kernels, **changes)
        found: list[Any] = []
        original = analysis.predicted
        analysis.predicted = lambda values, kept=found, call=original: (kept.append(values), call(values))[1]
        try:
            analyse([own], tmp_path / str(test_kernels), KernelObserver())
        finally:
            analysis.predicted = original
        scores.append(found)
    for direct, by_kernel in zip(*scores, strict=True):
        assert np.abs(direct - by_kernel).max() <= 1e-8 * np.abs(by_kernel).max()
    outputs = 1 if task == "mr" else 6
    cross = read_tensors(folder_of(own, tmp_path / "True").test_kernels)
    assert cross is not None
    assert cross["K_full"].shape == (20 * outputs, 5 * max(2, outputs) * outputs)


def test_it_goes_on_where_it_stopped_and_ends_the_same(
    make: Make, tmp_path: Path, small_blocks: None, captures: list[int]
) -> None:
    group = [make(seed=seed) for seed in (13, 21)]
    whole = analyse(group, tmp_path / "whole", KernelObserver())
    at_once = sum(captures)
    captures.clear()
    for after in (0, 2, 3, 4, 2):
        with pytest.raises(Interrupted):
            analyse(group, tmp_path / "parts", Stops(after))
        record = analysis.read_record(folder_of(group[0], tmp_path / "parts").record, KernelRecord)
        assert record.status == "interrupted"
    parts = analyse(group, tmp_path / "parts", KernelObserver())
    assert [record.kernels for record in parts] == [record.kernels for record in whole]
    for own in group:
        files = [folder_of(own, tmp_path / place).kernels.read_bytes() for place in ("whole", "parts")]
        assert files[0] == files[1]
        lines = [folder_of(own, tmp_path / place).predictions.read_bytes() for place in ("whole", "parts")]
        assert lines[0] == lines[1]
    again = 5 * 30  # for each of five stops: the checks of a start, and at most a block and what it needs
    assert sum(captures) <= at_once + again


def test_an_asymmetric_kernel_is_made_whole(make: Make, tmp_path: Path, small_blocks: None) -> None:
    own = make(kernels=("row",), kernel="asymmetric-signgd", solver="ridge", ridge=0.1, precision="float64")
    [record] = analyse([own], tmp_path / "blocks", KernelObserver())
    assert record.kernels["K_row"].eigenvalues == []
    kernel = kernels_of(own, tmp_path / "blocks")["K_row"]
    assert not torch.allclose(kernel, kernel.t())
    twin = own.model_copy(update={"test_kernels": True})
    [other] = analyse([twin], tmp_path / "twin", KernelObserver())
    assert other.kernels["K_row"].accuracy == record.kernels["K_row"].accuracy
    with pytest.raises(ValueError, match="solver strict needs a symmetric kernel"):
        make(kernel="asymmetric-signgd")


def test_settings_that_came_later_change_no_hash(make: Make) -> None:
    assert "indices" not in make().chosen()
    assert make(indices=(0,)).config_hash() != make().config_hash()


def test_what_is_finished_is_left_alone(make: Make, tmp_path: Path, captures: list[int]) -> None:
    first = analyse([make(kernels=("row",))], tmp_path, KernelObserver())
    captures.clear()
    assert analyse([make(kernels=("row",))], tmp_path, KernelObserver()) == first
    assert captures == []
    analyse([make(kernels=("row",))], tmp_path, KernelObserver(), force=True)
    assert captures


def test_kernels_serve_other_analyses(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    analyse([make(kernels=("row", "full"), logits="all")], tmp_path, KernelObserver())
    expected = make(kernels=("row",), solver="ridge")
    analyse([expected], tmp_path / "afresh", KernelObserver())
    monkeypatch.setattr(analysis.training_kernels.__globals__["_Tiles"], "kernels", lambda self: 1 / 0)
    analyse([expected], tmp_path, KernelObserver())
    made, derived = kernels_of(expected, tmp_path / "afresh")["K_row"], kernels_of(expected, tmp_path)["K_row"]
    assert torch.allclose(made, derived, rtol=1e-4, atol=float(1e-5 * made.abs().max()))
    with pytest.raises(ZeroDivisionError):
        analyse([make(kernels=("row",), rank=2)], tmp_path, KernelObserver())


def test_a_failure_is_on_record(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "solve", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        analyse([make()], tmp_path, KernelObserver())
    record = analysis.read_record(folder_of(make(), tmp_path).record, KernelRecord)
    assert record.status == "failed"
    assert record.error == "ZeroDivisionError: division by zero"


def test_a_kernel_that_overflows_is_on_record(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = GradientProducts.kernels
    infinite = torch.inf
    monkeypatch.setattr(
        GradientProducts, "kernels", lambda self, *blocks: {n: infinite * k for n, k in original(self, *blocks).items()}
    )
    with pytest.raises(NotFiniteError, match="K_full of mr, seed 13, is not finite"):
        analyse([make()], tmp_path, KernelObserver())
    record = analysis.read_record(folder_of(make(), tmp_path).record, KernelRecord)
    assert (record.status, record.hint) == ("nan", "try --set precision=float64")


def test_too_little_memory_is_said_at_once(make: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--memory-gib 0.1: too little for one example at a time; 0.\d GiB is needed"):
        analyse([make(memory_gib=0.1)], tmp_path, KernelObserver())


def test_a_checkpoint_without_a_head_is_refused(make: Make, tmp_path: Path) -> None:
    from transformers import RobertaConfig, RobertaModel

    from tests.ntk.models import IDS, SMALL, word_tokenizer

    RobertaModel(RobertaConfig(**SMALL, **IDS, max_position_embeddings=40)).save_pretrained(tmp_path / "encoder")
    word_tokenizer().save_pretrained(tmp_path / "encoder")
    with pytest.raises(UserError, match="its checkpoint lacks"):
        analyse([make(model=ModelConfig(name=str(tmp_path / "encoder")))], tmp_path, KernelObserver())
    assert not (tmp_path / "ntk-mr").exists()
