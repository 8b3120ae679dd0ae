from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.table import Cell, Row, Stat
from rocoft_bench.report.figures import Drawing
from tests.made_up import run_record, write_run
from tests.report.figures.conftest import Draw
from tests.report.figures.examples import table


def trained(folder: Path, label: str, *losses: Sequence[float], task: str = "rte") -> tuple[Row, list[Run]]:
    """A method's row, and its runs, a seed for each series of losses."""
    runs = []
    for seed, series in enumerate(losses):
        id = f"{label}-{task}-{seed}"
        record = run_record(task=task, label=label, seed=seed)
        write_run(folder / id, record, losses=series)
        runs.append(Run(id, record, folder / id))
    cell = Cell((Stat(75, n=len(runs)),), runs=tuple(run.id for run in runs))
    return Row("roberta-base", label, {task: cell, "adapter": Cell((Stat(1000),))}), runs


def curves(drawn: list[Drawing | str]) -> dict[str, dict[str, list[list[float]]]]:
    """Points by task and method."""
    (drawing,) = (item for item in drawn if isinstance(item, Drawing) and item.key.startswith("losses"))
    return {
        axes.get_title(): {str(line.get_label()): line.get_xydata().tolist() for line in axes.lines}
        for axes in drawing.figure.axes
    }


def caption(drawn: list[Drawing | str]) -> str:
    return next(item.caption for item in drawn if isinstance(item, Drawing) and item.key.startswith("losses"))


def test_a_line_is_the_mean_over_seeds_at_common_steps(draw: Draw, tmp_path: Path) -> None:
    method, runs = trained(tmp_path, "LoRA", [4, 3, 2, 1], [2, 1, 0, -1])
    drawn = draw([table(method)], runs)
    assert curves(drawn) == {"rte": {"LoRA": [[1, 3], [2, 2], [3, 1], [4, 0]]}}


def test_a_shorter_run_ends_the_mean(draw: Draw, tmp_path: Path) -> None:
    method, runs = trained(tmp_path, "LoRA", [4, 3, 2, 1], [2, 1])
    assert curves(draw([table(method)], runs))["rte"]["LoRA"] == [[1, 3], [2, 2]]


def test_tasks_without_a_history_have_no_panel_and_without_any_there_is_no_figure(draw: Draw, tmp_path: Path) -> None:
    with_losses, runs = trained(tmp_path, "LoRA", [2, 1])
    without, others = trained(tmp_path, "FT", [], task="cola")
    drawn = draw([table(with_losses, without)], [*runs, *others])
    assert list(curves(drawn)) == ["rte"]
    assert "FT" in caption(drawn)
    assert not any(
        item.key.startswith("losses") for item in draw([table(without)], others) if isinstance(item, Drawing)
    )


def test_at_most_eight_methods_and_rocoft_first(draw: Draw, tmp_path: Path) -> None:
    made = [trained(tmp_path, name, [2, 1]) for name in [*(f"other {i}" for i in range(9)), "RoCoFT-1-Row"]]
    rows = [row for row, _ in made]
    drawn = draw([table(*rows)], [run for _, runs in made for run in runs])
    shown = curves(drawn)["rte"]
    assert len(shown) == 8
    assert next(iter(shown)) == "RoCoFT-1-Row"
    assert "Left out, for want of room or of a history: other 7, other 8." in caption(drawn)


def test_a_damaged_history_costs_its_line_only(draw: Draw, tmp_path: Path) -> None:
    good, runs = trained(tmp_path, "LoRA", [2, 1])
    bad, others = trained(tmp_path, "FT", [2, 1])
    for line in ('{"step": 1, "loss": "high"}\n', '{"step": 1, "loss": NaN}\n{"step": 2, "loss": null}\n', "rubbish\n"):
        (tmp_path / "FT-rte-0" / "history.jsonl").write_text(line * 2)
        assert list(curves(draw([table(good, bad)], [*runs, *others]))["rte"]) == ["LoRA"]


def test_long_histories_are_read_at_some_steps(draw: Draw, tmp_path: Path) -> None:
    method, runs = trained(tmp_path, "LoRA", list(np.linspace(3, 1, 2000)))
    points = np.array(curves(draw([table(method)], runs))["rte"]["LoRA"])
    assert len(points) == 100
    assert points[:, 1] == pytest.approx(3 - (points[:, 0] - 1) * 2 / 1999)


def test_noise_is_smoothed_where_there_are_many_steps(draw: Draw, tmp_path: Path) -> None:
    method, runs = trained(tmp_path, "LoRA", [2 + (-1) ** step for step in range(70)])
    losses = np.array(curves(draw([table(method)], runs))["rte"]["LoRA"])[:, 1]
    assert losses[3:-3] == pytest.approx(2, abs=1 / 7 + 1e-9)
