from __future__ import annotations

from dataclasses import replace

from matplotlib.axes import Axes

from rocoft_bench.analysis.table import Cell, Row, Stat, Table
from rocoft_bench.report.figures import Drawing
from tests.report.figures.conftest import Draw
from tests.report.figures.examples import row, table


def strategies(*rows: Row) -> Table:
    return table(*rows, key="figure4-glue", number="Figure 4")


def only(drawn: list[Drawing | str]) -> Drawing:
    (drawing,) = drawn
    assert isinstance(drawing, Drawing)
    return drawing


def heights(axes: Axes) -> dict[str, list[float]]:
    """Of the bars by their label, from the left."""
    found: dict[str, list[float]] = {}
    for bar in sorted(axes.patches, key=lambda bar: bar.get_x()):
        found.setdefault(bar.get_label(), []).append(bar.get_height())
    return found


def test_a_bar_for_each_strategy_and_task_and_a_panel_for_each_mode(draw: Draw) -> None:
    rows = [
        row("RoCoFT-4-Row", 1000, {"rte": 80, "cola": 64}, variant="max"),
        row("RoCoFT-4-Row", 1000, {"rte": 79, "cola": 65}, variant="min"),
        row("RoCoFT-4-Column", 1000, {"rte": 78}, variant="max"),
    ]
    drawing = only(draw([strategies(*rows)]))
    by_row, by_column = drawing.figure.axes
    assert heights(by_row) == {"RoCoFT-4-Row, max": [80, 64], "RoCoFT-4-Row, min": [79, 65]}
    assert heights(by_column) == {"RoCoFT-4-Column, max": [78]}
    assert [text.get_text() for text in by_column.get_xticklabels()] == ["rte\n(acc)", "cola\n(acc)"]
    assert (drawing.number, drawing.table) == ("Figure 4", "figure4-glue")


def test_the_axis_starts_below_all_bars_and_the_caption_says_where(draw: Draw) -> None:
    rows = [row("RoCoFT-4-Row", 1, {"rte": 80, "cola": 64}, variant=name) for name in ("max", "min")]
    drawing = only(draw([strategies(*rows)]))
    start, end = drawing.figure.axes[0].get_ylim()
    assert start == 60
    assert 80 < end < 90
    assert "starts at 60" in drawing.caption


def test_error_bars_where_there_are_several_seeds(draw: Draw) -> None:
    one = row("RoCoFT-4-Row", 1, {"cola": 64}, variant="max")
    several = replace(one, variant="min", cells={"rte": Cell((Stat(80, 1.5, 3),))})
    drawing = only(draw([strategies(one, several)]))
    (bar,) = (c.errorbar for c in drawing.figure.axes[0].containers if getattr(c, "errorbar", None))
    assert bar.lines[2][0].get_segments()[0][:, 1].tolist() == [78.5, 81.5]
    assert "standard deviation" in drawing.caption


def test_strategies_are_told_by_more_than_colour(draw: Draw) -> None:
    names = ("max", "min", "mixed", "random")
    drawing = only(draw([strategies(*(row("RoCoFT-4-Row", 1, {"rte": 80}, variant=name) for name in names))]))
    assert len({bar.get_hatch() or "" for bar in drawing.figure.axes[0].patches}) == 4
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == list(names)


def test_nothing_without_results(draw: Draw) -> None:
    assert draw([strategies(row("RoCoFT-4-Row", 1, {}, variant="max"))]) == []
