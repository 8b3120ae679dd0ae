from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from rocoft_bench.report.figures import Drawing
from rocoft_bench.report.figures.kernel_figures import class_borders
from tests.made_up import kernel_record, stored
from tests.report.figures.conftest import Draw
from tests.report.figures.examples import kernels_of


def of_kind(drawn: list[Drawing | str], start: str) -> list[Drawing]:
    return [item for item in drawn if isinstance(item, Drawing) and item.key.startswith(start)]


def test_heat_maps_show_each_kernel_on_a_scale_of_its_own(draw: Draw, tmp_path: Path) -> None:
    (drawing,) = of_kind(draw(kernels=[kernels_of(tmp_path / "a")]), "kernels")
    panels = drawing.figure.axes
    assert [axes.get_title() for axes in panels] == ["all parameters", "one row", "LoRA"]
    assert [axes.images[0].get_clim() for axes in panels] == [(0, 1000), (0, 10), (0, 1)]
    assert panels[0].get_xlabel() == "0 … 1000"
    assert panels[0].images[0].get_array().shape == (32, 32)
    assert drawing.number == "Figure 3"
    assert "seed 13" in drawing.caption


def test_lines_part_the_classes(draw: Draw, tmp_path: Path) -> None:
    (drawing,) = of_kind(draw(kernels=[kernels_of(tmp_path / "a")]), "kernels")
    assert [line.get_ydata()[0] for line in drawing.figure.axes[0].lines[::2]] == [15.5]


@pytest.mark.parametrize(
    ("rows", "size", "borders"),
    [
        (32, 32, [15.5]),  # two classes, one logit
        (48, 144, [47.5, 95.5]),  # three classes, three logits
        (None, 32, []),
        (33, 33, []),
        (32, 33, []),
    ],
)
def test_borders_where_the_record_says_how_many_rows_there_are(
    rows: int | None, size: int, borders: list[float]
) -> None:
    assert class_borders(kernel_record(shots=16, data={"train_rows": rows}), size) == borders


def test_borders_of_no_shots() -> None:
    assert class_borders(kernel_record(shots=0), 32) == []


def test_numbers_of_the_papers_figures(draw: Draw, tmp_path: Path) -> None:
    analyses = [
        kernels_of(tmp_path / "a", "sst-2"),
        kernels_of(tmp_path / "b", "mr"),
        kernels_of(tmp_path / "c", "mr", shots=64),
    ]
    drawn = of_kind(draw(kernels=analyses), "kernels")
    assert {drawing.key: drawing.number for drawing in drawn} == {
        "kernels-sst-2-16-shot-roberta-base": "Figure 3",
        "kernels-mr-16-shot-roberta-base": "Figure 6",
        "kernels-mr-64-shot-roberta-base": None,
    }


def test_the_lowest_seed_is_drawn(draw: Draw, tmp_path: Path) -> None:
    analyses = [kernels_of(tmp_path / str(seed), seed=seed) for seed in (42, 13, 100)]
    (drawing,) = of_kind(draw(kernels=analyses), "kernels")
    assert "seed 13" in drawing.caption


def test_no_heat_maps_but_a_note_without_the_kernels(draw: Draw, tmp_path: Path) -> None:
    drawn = draw(kernels=[stored(kernel_record(), "there", tmp_path)])
    assert of_kind(drawn, "kernels") == []
    assert "there: no heat maps, kernels.safetensors cannot be read (there is none)" in drawn
    assert len(of_kind(drawn, "spectra")) == 1


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\xff" * 100])
def test_no_heat_maps_but_a_note_for_a_damaged_file(draw: Draw, tmp_path: Path, content: bytes) -> None:
    analysis = kernels_of(tmp_path / "a")
    (tmp_path / "a" / "kernels.safetensors").write_bytes(content)
    drawn = draw(kernels=[analysis])
    assert of_kind(drawn, "kernels") == []
    assert any(isinstance(note, str) and note.startswith("a: no heat maps") for note in drawn)


@pytest.mark.parametrize(
    "kernel", [np.ones((3, 4), np.float32), np.ones(3, np.float32), np.full((2, 2), np.nan, np.float32)]
)
def test_what_is_no_kernel_is_not_drawn(draw: Draw, tmp_path: Path, kernel: np.ndarray) -> None:
    analysis = kernels_of(tmp_path / "a")
    save_file({"K_full": kernel}, tmp_path / "a" / "kernels.safetensors")
    drawn = draw(kernels=[analysis])
    assert of_kind(drawn, "kernels") == []
    assert any(isinstance(note, str) and "K_full is not a square matrix" in note for note in drawn)


def test_spectra_are_relative_to_the_largest_eigenvalue_of_each_kernel(draw: Draw) -> None:
    kernels = {"K_full": {"eigenvalues": [5.0, 1.0, 0.5]}, "K_row": {"eigenvalues": [0.4, 0.1, 1e-18, -1e-18]}}
    (drawing,) = of_kind(draw(kernels=[stored(kernel_record("mr", kernels=kernels))]), "spectra")
    (axes,) = drawing.figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["all parameters"] == [[1, 1], [2, 0.2], [3, 0.1]]
    assert lines["one row"] == [[1, 1], [2, 0.25]]
    assert lines["one column"] == []
    assert axes.get_yscale() == "log"
    assert drawing.number == "Figure 5"
    assert "divided by its largest" in drawing.caption


def test_spectra_have_a_panel_for_each_task_and_a_figure_for_each_number_of_shots(draw: Draw) -> None:
    records = [kernel_record(task, shots) for task, shots in (("mr", 16), ("cr", 16), ("mr", 64), ("trec", 16))]
    drawn = of_kind(draw(kernels=[stored(record) for record in records]), "spectra")
    assert [[axes.get_title() for axes in drawing.figure.axes] for drawing in drawn] == [["cr", "mr", "trec"], ["mr"]]


def test_failed_analyses_are_not_drawn(draw: Draw) -> None:
    assert draw(kernels=[stored(kernel_record(status="failed"))]) == []
