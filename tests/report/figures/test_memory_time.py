from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.report.figures import Drawing
from tests.made_up import run_record, write_run
from tests.report.figures.conftest import Draw

GPU = {"hardware": {"gpus": ["NVIDIA H200"]}}
OTHER_GPU = {"hardware": {"gpus": ["NVIDIA A100"]}}
KEYS = ("model_memory_mib", "optimization_memory_mib", "seconds_per_step", "epoch_minutes")


def benches(*rows: tuple[str, float | None, float | None, float | None, float | None], **conditions: str) -> Table:
    columns = [Column(key, key, ("",)) for key in KEYS]
    of_methods = [
        Row("roberta-base", name, {key: Cell((Stat(value, n=1),)) for key, value in zip(KEYS, values, strict=True)})
        for name, *values in rows
    ]
    known = {"Hardware": "1 × NVIDIA H200", "Batch": "32 rows"}
    return Table("figure2", "time and memory", columns, of_methods, "Figure 2", {**known, **conditions})


def bars(axes: Axes) -> list[tuple[float, float]]:
    """(start, length) of each, from the top."""
    return [
        (bar.get_x(), bar.get_width()) for container in axes.containers for bar in getattr(container, "patches", ())
    ]


def only(drawn: list[Drawing | str]) -> tuple[Drawing, Axes, Axes]:
    (drawing,) = (item for item in drawn if isinstance(item, Drawing) and item.key.startswith("memory-time"))
    return (drawing, *drawing.figure.axes[:2])


def names(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_yticklabels()]


def test_bars_stack_the_model_and_what_training_adds_the_fastest_method_first(draw: Draw) -> None:
    figure2 = benches(("LoRA", 478, 2000, 0.2, 7), ("RoCoFT-3-Row", 480, 1500, 0.1, 3.5))
    drawing, memory, time = only(draw([figure2]))
    assert names(memory) == ["RoCoFT-3-Row", "LoRA"]
    assert bars(memory) == [(0, 480), (0, 478), (480, 1500), (478, 2000)]
    assert [length for _, length in bars(time)] == [3.5, 7]
    assert (memory.get_xlabel(), time.get_xlabel()) == ("memory (MiB)", "minutes per epoch")
    assert (drawing.number, drawing.table) == ("Figure 2", "figure2")
    assert "NVIDIA H200" in drawing.caption


def test_time_is_per_step_where_an_epoch_is_not_known(draw: Draw) -> None:
    _, _, time = only(draw([benches(("LoRA", 478, 2000, 0.2, None), ("FT", 478, 1500, 0.1, 3.5))]))
    assert [length for _, length in bars(time)] == [0.1, 0.2]
    assert time.get_xlabel() == "seconds per step"


def test_a_bench_without_memory_or_time_has_no_bar(draw: Draw) -> None:
    _, memory, _ = only(draw([benches(("LoRA", 478, 2000, 0.2, 7), ("FT", None, 1500, 0.1, 3.5))]))
    assert names(memory) == ["LoRA"]


def test_benches_of_unknown_hardware_are_not_set_side_by_side(draw: Draw) -> None:
    drawn = draw([benches(("LoRA", 478, 2000, 0.2, 7), Hardware="not recorded")])
    assert [item for item in drawn if isinstance(item, str) and "hardware" in item] == drawn


def trained(folder: Path, label: str, provenance: dict[str, Any] | None = GPU, **changes: Any) -> Run:
    record = run_record(label=label, epoch_metrics=[{"accuracy": 0.5}] * 2, **{"train_seconds": 240.0, **changes})
    id = f"{label}-{record.task['name']}-{record.seed}-{record.settings_hash}-{len(list(folder.iterdir()))}"
    write_run(folder / id, record, provenance=provenance)
    return Run(id, record, folder / id)


def test_without_benches_the_runs_are_drawn_and_the_caption_says_so(draw: Draw, tmp_path: Path) -> None:
    runs = [
        trained(tmp_path, "RoCoFT-3-Row", peak_memory_mib=900.0),
        trained(tmp_path, "LoRA", seed=0, train_seconds=300.0, peak_memory_mib=1000.0),
        trained(tmp_path, "LoRA", seed=1, train_seconds=420.0, peak_memory_mib=1000.0),
        trained(tmp_path, "FT", task="cola"),
        trained(tmp_path, "VeRA", status="oom"),
    ]
    drawing, memory, time = only(draw(runs=runs))
    assert names(memory) == ["RoCoFT-3-Row", "LoRA"]
    assert bars(memory) == [(0, 900), (0, 1000)]
    assert [length for _, length in bars(time)] == pytest.approx([2, 3])
    assert drawing.number is None
    assert "not benches" in drawing.caption
    assert "rte" in drawing.caption
    assert "standard deviation over seeds" in drawing.caption


def test_machines_and_models_never_share_a_figure(draw: Draw, tmp_path: Path) -> None:
    runs = [
        trained(tmp_path, "LoRA"),
        trained(tmp_path, "FT"),
        *(trained(tmp_path, label, OTHER_GPU) for label in ("LoRA", "VeRA")),
        *(trained(tmp_path, label, model={"name": "other/model", "kind": "hub"}) for label in ("LoRA", "BitFit")),
        trained(tmp_path, "LoRA", model={"name": "a/third", "kind": "hub"}),
    ]
    drawn = [drawing for drawing in draw(runs=runs) if isinstance(drawing, Drawing)]
    assert sorted(sorted(names(drawing.figure.axes[0])) for drawing in drawn) == [
        ["BitFit", "LoRA"],
        ["FT", "LoRA"],
        ["LoRA", "VeRA"],
    ]
    assert len({drawing.key for drawing in drawn}) == 3


def test_runs_of_unknown_hardware_are_left_out_with_a_note(draw: Draw, tmp_path: Path) -> None:
    runs = [trained(tmp_path, "LoRA"), trained(tmp_path, "VeRA"), trained(tmp_path, "FT", None)]
    drawn = draw(runs=runs)
    _, memory, _ = only(drawn)
    assert set(names(memory)) == {"LoRA", "VeRA"}
    assert any("1 runs left out" in note for note in drawn if isinstance(note, str))


def test_other_settings_of_a_method_have_a_bar_of_their_own(draw: Draw, tmp_path: Path) -> None:
    runs = [trained(tmp_path, "LoRA", settings_hash="a"), trained(tmp_path, "LoRA", settings_hash="b")]
    _, memory, _ = only(draw(runs=runs))
    assert sorted(names(memory)) == ["LoRA", "LoRA, settings 2"]
