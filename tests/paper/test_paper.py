from __future__ import annotations

import pytest

from rocoft_bench import paper
from rocoft_bench.paper import Complexity, KernelResult, RankResult


def test_the_papers_numbers_are_complete() -> None:
    assert len(paper.results()) == 959
    assert len(paper.hyperparameters()) == 25


def test_every_result_is_a_percentage_of_a_known_table() -> None:
    assert {result.table for result in paper.results()} == {1, 2, 6, 7, 11, 12}
    assert all(0 < result.value < 100 for result in paper.results())


@pytest.mark.parametrize(
    "printed",
    [
        KernelResult(4, 16, "sst-2", "full_ft", None, 89.0, 1.5),
        KernelResult(4, 16, "qqp", "K_lora", None, 58.2, 2.6),
        KernelResult(4, 64, "rte", "K_column", None, 62.7, 0.9),
        KernelResult(5, 16, "trec", "K_lora", 1, 0.140, 0.071),
        KernelResult(5, 16, "mnli", "K_row", 2, 0.260, 0.043),
        KernelResult(13, 64, "qqp", "K_column", 2, 0.099, 0.067),
    ],
)
def test_kernel_results_are_as_printed(printed: KernelResult) -> None:
    assert printed in paper.kernel_results()


def test_each_table_of_kernels_is_complete() -> None:
    tables = [result.table for result in paper.kernel_results()]
    assert {table: tables.count(table) for table in set(tables)} == {4: 108, 5: 78, 13: 52}
    assert {result.shots for result in paper.kernel_results() if result.table == 5} == {16}
    assert {result.p for result in paper.kernel_results() if result.table == 13} == {1, 2}
    cells = [(r.table, r.shots, r.task, r.kernel, r.p) for r in paper.kernel_results()]
    assert len(set(cells)) == len(cells)


def test_table_8_is_as_printed_with_minutes_and_seconds_in_seconds() -> None:
    assert len(paper.rank_efficiency()) == 15
    assert paper.rank_efficiency()[0] == RankResult(1, "LoRA", 3 * 60 + 12, 0.910, "0.055", 2762)
    assert paper.rank_efficiency()[-1] == RankResult(64, "RoCoFT-Column", 3 * 60 + 5, 0.933, "1.769", 2653)


def test_table_3_is_as_printed() -> None:
    assert len(paper.complexity()) == 11
    assert Complexity("LoRA-FA", *[r"$O((d + d) \times r)$"] * 2, "dr", "$2dr$") in paper.complexity()
    assert Complexity("RoCoFT _{Row}", *[r"$O(d \times r)$"] * 2, "rd", "0") in paper.complexity()
