from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from matplotlib.axes import Axes

from rocoft_bench.analysis.table import Cell, Row, Stat
from rocoft_bench.report.figures import Drawing
from rocoft_bench.report.figures.style import OURS, Label, panels, place_labels
from tests.made_up import a_run, run_record
from tests.report.figures.conftest import Draw
from tests.report.figures.examples import row, table


def only(drawn: list[Drawing | str]) -> tuple[Drawing, Axes]:
    (drawing,) = drawn
    assert isinstance(drawing, Drawing)
    return drawing, drawing.figure.axes[0]


def points(axes: Axes) -> dict[Any, tuple[float, float]]:
    return {bar.get_label(): tuple(bar.lines[0].get_xydata()[0]) for bar in axes.containers}


def line(axes: Axes, gid: str) -> list[tuple[float, float]]:
    return [tuple(point) for drawn in axes.lines if drawn.get_gid() == gid for point in drawn.get_xydata()]


ROCOFT = row("RoCoFT-3-Row", 1000, {"rte": 80, "cola": 60})
LORA = row("LoRA", 5000, {"rte": 70, "cola": 60})
FT = row("FT", 90_000, {"rte": 82, "cola": 70})


def test_each_method_is_a_point_at_its_parameters_and_its_mean_over_tasks(draw: Draw) -> None:
    drawing, axes = only(draw([table(ROCOFT, LORA, FT)]))
    assert points(axes) == {"RoCoFT-3-Row": (1000, 70), "LoRA": (5000, 65), "FT": (90_000, 76)}
    assert {text.get_text() for text in axes.texts} >= {"RoCoFT-3-Row", "LoRA", "FT"}
    assert axes.get_xscale() == "log"
    assert drawing.table == "table1"
    assert "rte (acc), cola (acc)" in drawing.caption


def test_the_front_leaves_out_what_another_method_beats_with_less(draw: Draw) -> None:
    _, axes = only(draw([table(ROCOFT, LORA, FT)]))
    assert line(axes, "front") == [(1000, 70), (90_000, 76)]


def test_of_settings_with_as_many_parameters_the_best_is_named(draw: Draw) -> None:
    worse = replace(row("RoCoFT-3-Row", 1000, {"rte": 60, "cola": 60}), variant="selection=max")
    more = replace(row("RoCoFT-3-Row", 2000, {"rte": 50, "cola": 60}), variant="train_bias=True")
    drawing, axes = only(draw([table(ROCOFT, worse, more, LORA)]))
    assert len(points(axes)) == 4
    names = {text.get_text() for text in axes.texts}
    assert {"RoCoFT-3-Row", "RoCoFT-3-Row, train_bias=True"} <= names
    assert "RoCoFT-3-Row, selection=max" not in names
    assert "below the best: 1 other" in drawing.caption


def test_methods_without_all_tasks_are_left_out_and_counted(draw: Draw) -> None:
    half = row("BitFit", 100, {"rte": 99})
    unknown = row("VeRA", None, {"rte": 99, "cola": 99})
    drawing, axes = only(draw([table(ROCOFT, LORA, half, unknown, row("IA3", 1, {}))]))
    assert set(points(axes)) == {"RoCoFT-3-Row", "LoRA"}
    assert "2 of 4 methods" in drawing.caption


def test_a_task_that_most_methods_lack_does_not_cost_the_methods(draw: Draw) -> None:
    rows = [row(name, 1000, {"rte": 70}) for name in ("LoRA", "FT", "VeRA")]
    drawing, axes = only(draw([table(ROCOFT, *rows)]))
    assert len(points(axes)) == 4
    assert "cola" not in drawing.caption


def test_a_method_that_trains_the_head_alone_is_a_line(draw: Draw) -> None:
    head = row("Head only", 0, {"rte": 55, "cola": 5})
    drawing, axes = only(draw([table(ROCOFT, head)]))
    assert [y for _, y in line(axes, "none: Head only")] == [30, 30]
    assert set(points(axes)) == {"RoCoFT-3-Row"}
    assert "nothing but the head" in drawing.caption


def with_reference(difference: float | None) -> Row:
    part = Stat(80, n=1, reference=79, difference=difference)
    cells = {"rte": Cell((part,)), "adapter": Cell((Stat(1000),))}
    return Row("roberta-base", "LoRA", cells, reference_title="paper")


@pytest.mark.parametrize(("difference", "expected"), [(1, [(1000, 79)]), (None, [])])
def test_the_papers_value_is_hollow_where_it_may_be_compared(
    draw: Draw, difference: float | None, expected: list[tuple[float, float]]
) -> None:
    drawing, axes = only(draw([table(with_reference(difference), row("FT", 9000, {"rte": 82}), tasks=("rte",))]))
    assert line(axes, "paper: LoRA") == expected
    assert ("Hollow: paper" in drawing.caption) == bool(expected)


def test_error_bars_are_of_the_means_over_tasks_of_the_seeds_with_all_tasks(draw: Draw) -> None:
    scores = {("rte", 0): 0.7, ("rte", 1): 0.8, ("rte", 2): 0.1, ("cola", 0): 0.5, ("cola", 1): 0.6}
    runs = [
        a_run(run_record(task=task, seed=seed, metrics={"accuracy": score, "matthews_correlation": score}))
        for (task, seed), score in scores.items()
    ]
    cells = {
        task: Cell((Stat(60, n=2),), runs=tuple(run.id for run in runs if run.record.task["name"] == task))
        for task in ("rte", "cola")
    }
    method = Row("roberta-base", "RoCoFT-3-Row", {**cells, "adapter": Cell((Stat(1000),))})
    pareto = next(d for d in draw([table(method, FT)], runs) if isinstance(d, Drawing) and d.key.startswith("pareto"))
    (low, high) = pareto.figure.axes[0].containers[0].lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 2 == pytest.approx(50**0.5)  # of 60 and 70
    assert "standard deviation over seeds" in pareto.caption


@pytest.mark.parametrize(("ours", "expected"), [("rocoft", "RoCoFT-3-Row"), ("lora", "LoRA")])
def test_the_method_that_stands_out_is_chosen(draw: Draw, ours: str, expected: str) -> None:
    runs = {label: a_run(run_record(label=label)) for label in ("RoCoFT-3-Row", "LoRA", "FT")}
    rows = [
        Row("m", label, {"rte": Cell((Stat(70),), runs=(run.id,)), "adapter": Cell((Stat(10),))})
        for label, run in runs.items()
    ]
    _, axes = only(draw([table(*rows, tasks=("rte",))], list(runs.values()), ours=ours)[:1])
    assert [bar.get_label() for bar in axes.containers if bar.lines[0].get_color() == OURS] == [expected]


def test_a_figure_for_each_model_of_a_table_that_has_several_methods(draw: Draw) -> None:
    others = [Row("roberta-large", same.method, same.cells) for same in (FT, LORA)]
    alone = Row("bert", "FT", FT.cells)
    first, second = draw([table(ROCOFT, LORA, *others, alone)])
    assert isinstance(first, Drawing)
    assert isinstance(second, Drawing)
    assert [first.key, second.key] == ["pareto-table1-roberta-base", "pareto-table1-roberta-large"]
    assert set(points(second.figure.axes[0])) == {"FT", "LoRA"}


def test_nothing_is_drawn_of_a_table_without_results(draw: Draw) -> None:
    assert draw([table(row("LoRA", 1000, {}), row("FT", None, {}))]) == []


def test_values_that_are_no_numbers_are_left_out(draw: Draw) -> None:
    _, axes = only(draw([table(ROCOFT, FT, row("LoRA", 1000, {"rte": float("nan"), "cola": 70}))]))
    assert set(points(axes)) == {"RoCoFT-3-Row", "FT"}


def test_names_of_many_methods_do_not_overlap() -> None:
    _, [axes] = panels(1, 1, 4.6, (0.65, 0.15, 0.55, 0.15))
    axes.set(xlim=(0, 10), ylim=(0, 10))
    place_labels(axes, [Label(f"a method with a name {i}", 3 + 0.3 * (i % 4), 3 + 0.15 * i) for i in range(22)])
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 22
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)
