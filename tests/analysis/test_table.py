from __future__ import annotations

import pytest

from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, only_run, with_highlights, with_references_once

TASK = Column("rte", "rte", ("acc",), task="rte", better="higher")


def rows_with(*values: float | None) -> list[Row]:
    return [Row("m", f"method {i}", {"rte": Cell((Stat(value),))}) for i, value in enumerate(values)]


def highlights(column: Column, *values: float | None) -> list[str | None]:
    return [row.cells["rte"].parts[0].highlight for row in with_highlights(rows_with(*values), [column])]


def test_best_and_second_by_what_is_shown() -> None:
    assert highlights(TASK, 70.0, 80.0, None, 75.0) == [None, "best", None, "second"]
    assert highlights(TASK, 80.001, 80.004, 75.0, 70.0) == ["best", "best", "second", None]
    assert highlights(TASK, 80.0, 75.0, 75.0, 75.0) == ["best", None, None, None]
    lower = Column("rte", "rte", ("loss",), better="lower")
    assert highlights(lower, 3.0, 1.0, 2.0) == [None, "best", "second"]


@pytest.mark.parametrize("values", [(), (None,), (80.0,), (80.0, 80.0), (80.0, None)])
def test_nothing_is_best_of_one_kind(values: tuple[float | None, ...]) -> None:
    assert set(highlights(TASK, *values)) <= {None}


def test_a_column_that_is_neither_good_nor_bad_has_no_best() -> None:
    assert highlights(Column("rte", "rte", ("n",)), 1.0, 2.0) == [None, None]


def test_what_rows_of_a_method_stand_beside_is_said_once() -> None:
    """Differences stay, and so does what another method or another number is beside."""

    def row(method: str, variant: str, reference: float) -> Row:
        return Row("m", method, {"rte": Cell((Stat(80.0, reference=reference).compared(),))}, variant, "paper")

    rows = [row("a", "", 78.0), row("a", "epochs=1", 78.0), row("b", "", 78.0), row("a", "epochs=2", 77.0)]
    shown = [row.cells["rte"].parts[0] for row in with_references_once(Table("t", "t", [TASK], rows)).rows]
    assert [part.reference for part in shown] == [78.0, None, 78.0, 77.0]
    assert [part.difference for part in shown] == [2.0, 2.0, 2.0, 3.0]


def test_what_was_not_run_is_left_out_where_that_is_asked_for() -> None:
    other = Column("cola", "cola", ("mcc",), task="cola")
    rows = [*rows_with(80.0), Row("m", "not run", {"cola": Cell((Stat(reference=60.0),))}, reference_title="paper")]
    failed = Row("m", "failed", {"rte": Cell((Stat(),), failures=("oom",))})
    shown = only_run(Table("t", "t", [TASK, other], [*rows, failed], notes=["a note"]))
    assert [row.method for row in shown.rows] == ["method 0", "failed"]
    assert shown.columns == [TASK]
    assert shown.notes == ["not run and not shown here: 1 rows of the paper's table", "a note"]


def test_what_another_folder_has_counts_as_run_where_folders_are_compared() -> None:
    theirs = Row("m", "theirs", {"rte": Cell((Stat(reference=60.0),))}, reference_title="other")
    failed = Row("m", "failed there", {"rte": Cell((Stat(),), reference_text="[oom]")}, reference_title="other")
    nobodys = Row("m", "nobody's", {"rte": Cell((Stat(),))})
    shown = only_run(Table("t", "t", [TASK], [theirs, failed, nobodys]), beside=True)
    assert [row.method for row in shown.rows] == ["theirs", "failed there"]
    assert shown.notes == ["not run and not shown here: 1 rows of the paper's table"]
