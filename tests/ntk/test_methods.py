"""The kernel of what a method trains, before it is trained: of any method that can be applied to the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch

from rocoft_bench import methods
from rocoft_bench.analysis.records import Results, Stored
from rocoft_bench.config import ModelConfig, Settings
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.experiment.run import run
from rocoft_bench.methods.qlora import QuantisedLoRA
from rocoft_bench.models import MASKED_LM
from rocoft_bench.ntk.analyse import analyse
from rocoft_bench.ntk.kernel_inputs import KernelInputs, prepare
from rocoft_bench.ntk.kernel_settings import FineTuning, KernelSettings, analyses
from rocoft_bench.ntk.training_kernels import KernelObserver
from rocoft_bench.report.figures.figure import FigureData
from rocoft_bench.report.figures.kernel_figures import kernels_against_training
from rocoft_bench.report.figures.style import SETTINGS
from rocoft_bench.report.tables.kernels_against_training import tables_against_training
from rocoft_bench.runs import RunDirectory
from tests.conftest import write_rows
from tests.ntk.models import gram, tiny

FITTING: dict[str, dict[str, Any]] = {
    **{name: {"num_virtual_tokens": 2} for name in ("prefix-tuning", "prompt-tuning", "propetl-prefix")},
    "shira": {"rank": 2},
}
"""What a method needs on a model of width 8 that takes 40 tokens."""
NAMES = [
    name
    for name, method in methods.METHODS.items()
    if MASKED_LM in method.supported_tasks and not issubclass(method, QuantisedLoRA)
]


def settings_of(masked_lm: Path, rows_dir: Path, **changes: Any) -> KernelSettings:
    model = ModelConfig(name=str(masked_lm))
    return KernelSettings(model=model, task="mr", shots=4, data_dir=rows_dir, precision="float64", **changes)


def explicit(inputs: KernelInputs) -> torch.Tensor:
    """K from the gradients of one example at a time."""
    model = inputs.capturer.model
    chosen = [model.get_parameter(name) for name in sorted(inputs.parameters.trained)]
    for parameter in chosen:
        parameter.requires_grad_(True)
    rows = []
    for example in inputs.train[13].examples:
        found = torch.autograd.grad(inputs.capturer.outputs([example]).sum(), chosen, allow_unused=True)
        rows.append(torch.cat([g.flatten() for g in found if g is not None]))
    model.requires_grad_(False)
    return gram(torch.stack(rows).unsqueeze(1))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_that_of_explicit_gradients(masked_lm: Path, rows_dir: Path, name: str) -> None:
    method = {"name": name, **FITTING.get(name, {})}
    inputs = prepare(settings_of(masked_lm, rows_dir, kernels=("trained",), method=method), [13])
    block = inputs.capturer.capture(inputs.train[13].examples, 4)
    found = inputs.products([13]).kernels(block)["trained/13"]
    expected = explicit(inputs)
    assert (found - expected).abs().max() <= 1e-10 * expected.abs().max()
    assert expected.abs().max() > 0


def test_it_is_compared_with_the_kernel_of_all(masked_lm: Path, rows_dir: Path, tmp_path: Path) -> None:
    [alone] = analyse(
        [settings_of(masked_lm, rows_dir, kernels=("trained",), method={"name": "rocoft", "rank": 2})],
        tmp_path,
        KernelObserver(),
    )
    assert alone.kernels["K_trained"].relative_difference == {}
    analyse([settings_of(masked_lm, rows_dir, kernels=("full", "row"), rank=3)], tmp_path, KernelObserver())
    own = settings_of(masked_lm, rows_dir, kernels=("trained",), method={"name": "rocoft", "rank": 3})
    [record] = analyse([own], tmp_path, KernelObserver())
    [rows] = analyse([settings_of(masked_lm, rows_dir, kernels=("row",), rank=3)], tmp_path / "rows", KernelObserver())
    trained = record.kernels["K_trained"]
    assert trained.relative_difference["2"] > 0
    assert trained.eigenvalues == pytest.approx(rows.kernels["K_row"].eigenvalues, rel=1e-9, abs=1e-9)
    assert trained.parameters == rows.kernels["K_row"].parameters


def test_what_cannot_be_applied_is_said(masked_lm: Path, rows_dir: Path) -> None:
    own = settings_of(masked_lm, rows_dir, kernels=("trained",), method={"name": "head-only"})
    with pytest.raises(UserError, match="method head-only cannot train a masked_lm model"):
        prepare(own, [13])
    with pytest.raises(UserError, match=r"unknown method 'lorra'"):
        prepare(own.model_copy(update={"method": {"name": "lorra"}}), [13])
    with pytest.raises(ValueError, match="give both"):
        settings_of(masked_lm, rows_dir, method={"name": "lora"})


@pytest.fixture
def clear_rows(tmp_path: Path) -> Path:
    """Rows whose label one word tells."""
    rows = [{"text": f"A {('bad', 'good')[label]} film.", "label": label} for label in (0, 1)]
    for split in ("train", "test"):
        write_rows(tmp_path / "fewshot" / "mr" / f"{split}.jsonl", rows * 8)
    return tmp_path


@pytest.mark.parametrize("method", [None, {"name": "rocoft", "rank": 8}])
def test_fine_tuning_stands_beside_the_kernel(masked_lm: Path, clear_rows: Path, tmp_path: Path, method: Any) -> None:
    own = settings_of(
        masked_lm,
        clear_rows,
        kernels=("row",) if method is None else ("trained",),
        method=method,
        fine_tuning=FineTuning(steps=150, learning_rate=0.05),
    )
    [record] = analyse([own], tmp_path / "out", KernelObserver())
    name = "full_ft" if method is None else "trained_ft"
    assert record.kernels[name].accuracy == 1
    assert record.settings["fine_tuning"] == {"steps": 150, "batch_size": 8, "learning_rate": 0.05}
    if method is None:
        assert record.kernels[name].parameters == sum(p.numel() for p in tiny("roberta").parameters())
    else:
        assert record.kernels[name].parameters == record.kernels["K_trained"].parameters


def test_the_loss_is_over_the_label_words_at_the_mask(masked_lm: Path, rows_dir: Path) -> None:
    own = settings_of(masked_lm, rows_dir, kernels=("row",), logits="all", max_test_rows=3)
    inputs = prepare(own, [13])
    for example in inputs.test.examples:
        ids = torch.tensor([example.input_ids])
        position, label = torch.tensor([example.position]), torch.tensor([1])
        found = inputs.capturer.model(ids, torch.ones_like(ids), mask_position=position, labels=label)
        words = inputs.capturer.readout.words
        expected = inputs.capturer.model(ids, torch.ones_like(ids)).logits[0, example.position, words]
        assert torch.allclose(found.logits, expected)
        assert torch.allclose(found.loss, -expected.log_softmax(0)[1])


@pytest.fixture(scope="module")
def finished(masked_lm: Path, rows_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunDirectory]:
    """Few-shot runs of two methods."""
    return {name: few_shot_run(masked_lm, rows_dir, tmp_path_factory.mktemp(name), name) for name in ("rocoft", "lora")}


def few_shot_run(model: Path, rows: Path, folder: Path, method: str) -> RunDirectory:
    task = {"family": "fewshot", "name": "mr", "shots": 4, "data_dir": str(rows)}
    training = {"epochs": 4, "batch_size": 4, "learning_rate": 0.05}
    sections = {"task": task, "model": {"name": str(model)}, "method": {"name": method}, "training": training}
    record, _ = run(resolve(Settings({**sections, "seed": 13})), folder, Observer())
    assert record.status == "ok"
    return RunDirectory(folder)


@pytest.mark.parametrize("name", ["rocoft", "lora"])
def test_in_the_state_of_a_finished_run(
    finished: dict[str, RunDirectory], masked_lm: Path, rows_dir: Path, tmp_path: Path, name: str
) -> None:
    [[own]] = analyses(Settings({"ntk": {"run": str(finished[name].path), "precision": "float64"}}))
    assert (own.task, own.shots, own.seed, own.kernels) == ("mr", 4, 13, ("trained",))
    inputs = prepare(own, [13])
    block = inputs.capturer.capture(inputs.train[13].examples, 4)
    found = inputs.products([13]).kernels(block)["trained/13"]
    assert (found - explicit(inputs)).abs().max() <= 1e-10 * found.abs().max()
    before = prepare(settings_of(masked_lm, rows_dir, kernels=("trained",), method={"name": name}), [13])
    start = before.products([13]).kernels(before.capturer.capture(before.train[13].examples, 4))["trained/13"]
    assert (found - start).abs().max() > 1e-3 * start.abs().max()
    [record] = analyse([own], tmp_path, KernelObserver())
    trained = finished[name].read_record()
    assert trained.metrics is not None
    assert record.kernels["trained_ft"].accuracy == trained.metrics["accuracy"]
    assert record.settings["run"] == "finished"


def test_other_kernels_of_a_finished_run_are_of_the_merged_model(
    finished: dict[str, RunDirectory], tmp_path: Path
) -> None:
    section = {"run": str(finished["rocoft"].path), "precision": "float64", "kernels": ["row", "full"], "rank": 3}
    [[own]] = analyses(Settings({"ntk": section}))
    [merged] = analyse([own], tmp_path, KernelObserver())
    [[own]] = analyses(Settings({"ntk": {"run": str(finished["rocoft"].path), "precision": "float64"}}))
    [adapter] = analyse([own], tmp_path, KernelObserver())
    assert merged.kernels["K_row"].eigenvalues == pytest.approx(adapter.kernels["K_trained"].eigenvalues, rel=1e-6)


def test_what_is_no_few_shot_run_is_said(finished: dict[str, RunDirectory], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="shots is that of the run; leave it out"):
        analyses(Settings({"ntk": {"run": str(finished["lora"].path), "shots": 8}}))
    with pytest.raises(UserError, match=f"{tmp_path}"):
        analyses(Settings({"ntk": {"run": str(tmp_path)}}))


@pytest.mark.parametrize("mode", ["row", "column"])
@pytest.mark.parametrize("selection", ["max", "min", "mixed"])
def test_scored_rows_are_those_of_rocoft(masked_lm: Path, rows_dir: Path, mode: str, selection: str) -> None:
    kernels = []
    method = {"name": "rocoft", "mode": mode, "rank": 2, "selection": selection}
    for chosen in (
        {"kernels": (mode,), "rank": 2, "selection": selection},
        {"kernels": ("trained",), "method": method},
    ):
        inputs = prepare(settings_of(masked_lm, rows_dir, **chosen), [13])
        block = inputs.capturer.capture(inputs.train[13].examples, 4)
        kernels.append(next(iter(inputs.products([13]).kernels(block).values())))
    assert torch.allclose(*kernels, rtol=1e-9, atol=0)


@pytest.mark.parametrize("wrong", ["loraa", {"name": "lora", "rnk": 2}, {"rank": 2}])
def test_a_wrong_method_is_told_of_before_any_is_analysed(wrong: object) -> None:
    with pytest.raises(UserError, match=r"loraa|rnk|name is missing"):
        analyses(Settings({"ntk": {"tasks": ["mr"], "methods": ["bitfit", wrong]}}))


def test_several_methods_stand_beside_the_kernels(masked_lm: Path, rows_dir: Path, tmp_path: Path) -> None:
    section = {"model": str(masked_lm), "data_dir": str(rows_dir), "shots": 4, "tasks": ["mr"], "seeds": [13, 21]}
    fine_tuning = {"fine_tuning": {"steps": 4}, "kernels": ["full"], "methods": ["bitfit", {"name": "lora", "rank": 2}]}
    stored = []
    for group in analyses(Settings({"ntk": {**section, **fine_tuning}})):
        for own, record in zip(group, analyse(group, tmp_path, KernelObserver()), strict=True):
            stored.append(Stored(own.folder_name, record, tmp_path / own.folder_name))
    assert len(list(tmp_path.glob("fewshot-mr/*/record.json"))) == 6
    [table] = tables_against_training(stored)
    rows = {row.method: row for row in table.rows}
    assert set(rows) == {"all parameters", "BitFit", "LoRA"}
    assert rows["all parameters"].cells["distance_2"].parts[0].value == 0
    for row in rows.values():
        assert {"accuracy", "fine_tuned", "alignment"} <= set(row.cells)
        assert row.cells["fine_tuned"].parts[0].n == 2
    with matplotlib.rc_context(SETTINGS):
        [drawing] = kernels_against_training(FigureData(Results(tmp_path, kernels=stored), [table], "rocoft"))
    assert "over 3 methods" in drawing.caption
