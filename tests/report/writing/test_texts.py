"""What a cell says."""

from __future__ import annotations

import pytest

from rocoft_bench.analysis.table import EMPTY, Cell, Column, Row, Stat, Table
from rocoft_bench.report.writing.texts import caption, cell_text, difference_text, heading, lines, reference_text
from tests.report.writing.examples import ADAPTER, MRPC, RTE, WHY, glue_table


@pytest.mark.parametrize(
    ("column", "cell", "text"),
    [
        (RTE, EMPTY, ""),
        (RTE, Cell((Stat(reference=78.3),)), ""),
        (RTE, Cell((Stat(78.306, n=1),)), "78.31"),
        (RTE, Cell((Stat(78.306, 0.25, 2),)), "78.31 ± 0.25 (n=2)"),
        (MRPC, Cell((Stat(89.97, 0.31, 3), Stat(90.79, 0.28, 3))), "89.97 ± 0.31 / 90.79 ± 0.28 (n=3)"),
        (MRPC, Cell((Stat(89.97, 0.31, 3), Stat(90.79, 0.28, 2))), "89.97 ± 0.31 (n=3) / 90.79 ± 0.28 (n=2)"),
        (MRPC, Cell((Stat(89.97, 0.31, 3), Stat(90.79, n=1))), "89.97 ± 0.31 (n=3) / 90.79"),
        (MRPC, Cell((Stat(89.97, 0.31, 3), Stat())), "89.97 ± 0.31 / – (n=3)"),
        (ADAPTER, Cell((Stat(1_248_832.0, n=3),)), "1,248,832"),
        (ADAPTER, Cell((Stat(20.0, n=2),), "10 … 20"), "10 … 20"),
        (RTE, Cell((Stat(-1.5, n=1),)), "−1.50"),
        (RTE, Cell(failures=("oom",)), "[oom]"),
        (RTE, Cell((Stat(50.0, n=1),), failures=("oom", "nan", "oom")), "50.00 [oom ×2] [nan]"),
        (WHY, Cell(text="because"), "because"),
    ],
)
def test_what_was_measured(column: Column, cell: Cell, text: str) -> None:
    assert cell_text(cell, column) == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (EMPTY, ""),
        (Cell((Stat(reference=88.31), Stat(reference=90.0))), "88.31 / 90.00"),
        (Cell((Stat(reference=88.31, reference_deviation=0.3), Stat())), "88.31 ± 0.30 / –"),
        (Cell((Stat(reference=88.31), Stat()), reference_text="0.249M"), "0.249M"),
    ],
)
def test_what_the_paper_says(cell: Cell, text: str) -> None:
    assert reference_text(cell, MRPC) == text


@pytest.mark.parametrize(
    ("difference", "text"), [(0.421, "+0.42"), (-1.1, "−1.10"), (0.001, "0.00"), (-0.001, "0.00"), (None, "")]
)
def test_differences_have_a_sign(difference: float | None, text: str) -> None:
    assert difference_text(Cell((Stat(1.0, difference=difference),)), RTE) == text


def test_a_row_is_followed_by_what_it_stands_beside() -> None:
    row, other = glue_table().rows
    assert [line.title for line in lines(row, [RTE])] == ["RoCoFT-3-Row", "paper", "difference"]
    assert [line.title for line in lines(row, [ADAPTER])] == ["RoCoFT-3-Row", "paper"]
    assert [line.title for line in lines(row, [WHY])] == ["RoCoFT-3-Row"]
    assert [line.title for line in lines(other, [RTE])] == ["LoRA, r=8", "reference"]


def test_only_the_number_carries_its_standing() -> None:
    row = glue_table().rows[0]
    pieces = lines(row, [MRPC])[0].cells[0]
    assert [(piece.text, piece.highlight) for piece in pieces if piece.highlight] == [("88.61", "best")]


@pytest.mark.parametrize(
    ("column", "title"),
    [
        (MRPC, "MRPC acc/F1 (%)"),
        (ADAPTER, "adapter"),
        (Column("s", "train s", ("",), unit="s"), "train s"),
        (Column("m", "memory", ("memory",), unit="MiB"), "memory (MiB)"),
    ],
)
def test_headings_name_numbers_and_unit_once(column: Column, title: str) -> None:
    assert heading(column) == title


@pytest.mark.parametrize(("number", "title"), [("1", "Table 1: GLUE"), ("Figure 4", "Figure 4: GLUE"), (None, "GLUE")])
def test_captions(number: str | None, title: str) -> None:
    assert caption(Table("k", "GLUE", [], [Row("m", "x", {})], number)) == title
