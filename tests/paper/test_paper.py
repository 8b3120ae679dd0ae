from __future__ import annotations

from rocoft_bench import paper


def test_the_papers_numbers_are_complete() -> None:
    assert len(paper.results()) == 959
    assert len(paper.hyperparameters()) == 25


def test_every_result_is_a_percentage_of_a_known_table() -> None:
    assert {result.table for result in paper.results()} == {1, 2, 6, 7, 11, 12}
    assert all(0 < result.value < 100 for result in paper.results())
