"""Mean ranks over the tasks of a table, by hand."""

from __future__ import annotations

from rocoft_bench.analysis.ranking import MEAN_RANK, summarized
from rocoft_bench.analysis.table import Cell, Column, Row, Stat

TASKS = [Column(name, name, ("acc", "F1"), task=name, better="higher") for name in ("rte", "mrpc", "cola")]


def mean_ranks(**values: list[float | None]) -> dict[str, float | None]:
    """Of methods with these results on the tasks; the second metric, which is not ranked, is the other way round."""
    rows = []
    for method, own in values.items():
        numbers = zip(TASKS, own, strict=True)
        cells = {task.key: Cell((Stat(value), Stat(value and 100 - value))) for task, value in numbers}
        rows.append(Row("m", method, cells))
    return {row.method: row.cell(MEAN_RANK).parts[0].value for row in summarized(rows, TASKS)}


def test_ties_share_a_rank_and_a_task_that_no_row_has_does_not_count() -> None:
    found = mean_ranks(a=[90.0, 80.0, None], b=[85.0, 80.0, None], c=[95.0, 70.0, None])
    assert found == {"a": 1.75, "b": 2.25, "c": 2.0}


def test_a_row_without_every_task_has_no_rank_and_does_not_count_for_others() -> None:
    found = mean_ranks(a=[90.0, 80.0, 1.0], b=[85.0, 81.0, 2.0], c=[95.0, 90.0, None], none=[None, None, None])
    assert found == {"a": 5 / 3, "b": 4 / 3, "c": None, "none": None}


def test_a_single_row_or_task_is_not_ranked() -> None:
    assert mean_ranks(a=[90.0, 80.0, 70.0]) == {"a": None}
    assert mean_ranks(a=[90.0, None, None], b=[80.0, None, None]) == {"a": None, "b": None}
    assert mean_ranks(a=[1.0, None, None], b=[None, 1.0, None]) == {"a": None, "b": None}
