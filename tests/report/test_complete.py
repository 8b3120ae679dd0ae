"""A folder with results for every table of the paper, through the command line: each cell of each table by value."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import paper
from tests.made_up import ABOVE_PAPER, KERNEL_STEP, SEED_STEP, complete_analyses, complete_results

SEEDS = 2
MEAN = ABOVE_PAPER + SEED_STEP / 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from rocoft_bench.report import all_tables, read_results, write_report

    root = tmp_path_factory.mktemp("results")
    complete_results(root / "runs", SEEDS)
    complete_analyses(root / "analyses", SEEDS)
    results = read_results(root)
    assert results.problems == []
    write_report(results, all_tables(results), root / "report", "everything")
    return root / "report"


@pytest.fixture(scope="module")
def lines(folder: Path) -> list[dict[str, str]]:
    with (folder / "cells.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_table_of_the_paper_is_there(lines: list[dict[str, str]]) -> None:
    numbers = {line["number"] for line in lines}
    assert numbers == {"1", "2", "3", "4", "5", "6", "7", "8", "11", "12", "13", "Figure 2", "Figure 4"}


def test_every_cell_stands_beside_the_papers(lines: list[dict[str, str]]) -> None:
    """As many as the paper has, each as much above it as it was made."""
    of_runs = [line for line in lines if line["task"] and line["number"] in {"1", "2", "6", "7", "11", "12"}]
    known = [line for line in of_runs if line["reference"]]
    per_table = Counter(line["number"] for line in known)
    assert per_table == Counter(str(result.table) for result in paper.results() if result.task != "average")
    for line in known:
        assert float(line["difference"]) == pytest.approx(MEAN)
        assert float(line["value"]) == pytest.approx(float(line["reference"]) + MEAN)
        assert (float(line["deviation"]), line["n"]) == (pytest.approx(SEED_STEP / 2**0.5), "2")


def test_every_kernel_stands_beside_the_papers(lines: list[dict[str, str]]) -> None:
    for number, above in (("4", MEAN), ("5", KERNEL_STEP), ("13", KERNEL_STEP)):
        printed = Counter(r.mean for r in paper.kernel_results() if str(r.table) == number)
        own = [line for line in lines if line["number"] == number and line["reference"]]
        assert Counter(float(line["reference"]) for line in own) == printed
        assert all(float(line["difference"]) == pytest.approx(above) for line in own)


def test_table_8_stands_beside_the_papers(lines: list[dict[str, str]]) -> None:
    own = [line for line in lines if line["number"] == "8" and line["task"] == "sst2"]
    assert len(own) == len(paper.rank_efficiency())
    assert all(float(line["difference"]) == pytest.approx(ABOVE_PAPER) for line in own)


def test_table_3_and_the_figures_have_what_was_measured(lines: list[dict[str, str]]) -> None:
    layer = {line["value"] for line in lines if line["number"] == "3" and line["value"]}
    assert str(3 * 768) in {value.removesuffix(".0") for value in layer}
    benches = {line["method"] for line in lines if line["number"] == "Figure 2"}
    assert benches == {"RoCoFT-3-Row", "LoRA", "FT"}
    ways = {(line["method"], line["variant"]) for line in lines if line["number"] == "Figure 4"}
    assert ways == {
        (f"RoCoFT-4-{m}", f"selection={s}") for m in ("Row", "Column") for s in ("max", "min", "mixed", "random")
    }


def test_all_figures_are_drawn(folder: Path) -> None:
    kinds = {file.name.partition("-")[0] for file in (folder / "figures").iterdir()}
    assert kinds >= {"pareto", "figure4", "spectra"}


def test_the_page_and_the_text_formats_hold_every_table(folder: Path) -> None:
    for name in ("index.html", "tables.md", "tables.tex"):
        text = (folder / name).read_text(encoding="utf-8")
        for number in (1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13):
            assert f"Table {number}" in text


def test_the_report_of_it_ends_well(folder: Path, rocoft: Callable[..., Any], tmp_path: Path) -> None:
    result = rocoft("report", folder.parent / "analyses", "--output", tmp_path)
    assert result.code == 0, result.err
    assert "Table 13" in result.out
