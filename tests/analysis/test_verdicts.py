"""Verdicts on planted results: what is said of a difference, of none, and of too few seeds."""

from pathlib import Path

import pytest

from rocoft_bench import tasks
from rocoft_bench.analysis.method_comparison import compare_methods
from rocoft_bench.analysis.records import Results, read_results
from rocoft_bench.analysis.seed_statistics import holm, welch_p
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.analysis.verdicts import claims_table, rank_tables_over_seeds
from rocoft_bench.report.writing import comparisons_csv
from tests.made_up import run_record, write_run

OURS = [80.0, 80.3, 79.8, 80.1, 79.9]
THEIRS = {
    "Same": [80.1, 79.9, 80.2, 80.0, 79.7],
    "Worse": [75.0, 75.2, 74.9, 75.1, 75.0],
    "Better": [85.0, 85.2, 84.9, 85.1, 85.0],
    "Noisy": [76.0, 84.0, 78.0, 83.5, 80.0],
    "Slightly": [79.5, 79.6, 79.55, 79.45, 79.5],
}


def results_of(folder: Path, *names: str) -> Results:
    for task in names:
        for label, scores in {"RoCoFT-3-Row": OURS, **THEIRS}.items():
            for seed, score in enumerate(scores):
                method = {"name": "rocoft"} if scores is OURS else {"name": "lora"}
                metrics = dict.fromkeys(tasks.get("glue", task).metric_names, score / 100)
                record = run_record("glue", task, label=label, seed=seed, method=method, metrics=metrics)
                write_run(folder / f"{label}-{task}-{seed}", record)
    return read_results(folder)


def table_of(results: Results, *names: str) -> Table:
    rows = []
    for label in ("RoCoFT-3-Row", *THEIRS):
        runs = {
            name: [r.id for r in results.runs if (r.record.label, r.record.task["name"]) == (label, name)]
            for name in names
        }
        rows.append(Row("roberta-base", label, {name: Cell(runs=tuple(ids)) for name, ids in runs.items()}))
    return Table("t", "GLUE", [Column(name, name, ("acc",), name) for name in names], rows)


def test_verdicts(tmp_path: Path) -> None:
    results = results_of(tmp_path, "rte")
    (comparison,) = compare_methods(results, [table_of(results, "rte")], margin=1.0)
    table = claims_table(comparison)
    assert table is not None
    said = {row.method: {key: cell.text for key, cell in row.cells.items()} for row in table.rows}
    assert {label: cells["verdict"] for label, cells in said.items()} == {
        "Same": "equivalent",
        "Worse": "better",
        "Better": "worse",
        "Noisy": "undecided",
        "Slightly": "equivalent (better by less than the margin)",
    }
    assert {label for label, cells in said.items() if cells["needed"]} == {"Noisy"}
    assert "for equivalence; " in said["Noisy"]["needed"]
    assert said["Worse"]["difference_seeds"].startswith("+4.98 [+4.7")
    expected = holm([welch_p(OURS, scores) for scores in THEIRS.values()])[0]
    assert float(said["Same"]["p_seeds"]) == pytest.approx(expected, abs=5e-4)
    assert any("smaller than 1 points either way" in note for note in table.notes)
    assert "p_equivalent_corrected" in comparisons_csv(comparison.comparisons.values()).splitlines()[0]


def test_a_narrower_margin_needs_more(tmp_path: Path) -> None:
    results = results_of(tmp_path, "rte")
    (comparison,) = compare_methods(results, [table_of(results, "rte")], margin=0.1)
    table = claims_table(comparison)
    assert table is not None
    assert {row.cells["verdict"].text for row in table.rows if row.method == "Same"} == {"undecided"}


def test_ranks_need_several_tasks(tmp_path: Path) -> None:
    results = results_of(tmp_path, "rte", "sst2")
    assert not list(rank_tables_over_seeds(results, [table_of(results, "rte")]))
    (table,) = rank_tables_over_seeds(results, [table_of(results, "rte", "sst2")])
    assert table.rows[0].method == "Better"
    assert table.rows[0].cells["mean_rank"].text == "1.00 [1.00, 1.00]"
    assert sum(row.cells["best"].parts[0].value or 0 for row in table.rows) == pytest.approx(100)
