"""RoCoFT against the others: numbers against slow direct computations, and what cannot be compared is said."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, ttest_ind

from rocoft_bench import tasks
from rocoft_bench.analysis.method_comparison import compare_methods
from rocoft_bench.analysis.records import Results, read_results
from rocoft_bench.analysis.statistics import RESAMPLES, SEED
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.report.writing import comparisons_csv
from tests.made_up import run_record, write_run

ROWS = 60


def labels(right: float, seed: int, references: np.ndarray) -> np.ndarray:
    """Predictions of which about that share is right."""
    return np.where(np.random.default_rng(seed).random(len(references)) < right, references, 1 - references)


def references(task: str, rows: int = ROWS) -> np.ndarray:
    return np.random.default_rng(len(task)).integers(0, 2, rows)


def write(folder: Path, label: str, task: str, seed: int, right: float, rows: int = ROWS, **changes: Any) -> np.ndarray:
    """A run on a task of GLUE, with the metrics that its predictions have; gives these."""
    wanted = references(task, rows)
    given = labels(right, 100 * len(label) + seed, wanted)
    method = {"name": "rocoft", "mode": "row", "rank": 3} if label.startswith("RoCoFT") else {"name": "lora"}
    metrics = tasks.get("glue", task).score(given.tolist(), wanted.tolist())
    record = run_record("glue", task, label=label, seed=seed, method=method, metrics=metrics, **changes)
    record.data["eval_rows"] = rows
    write_run(folder / f"{label}-{task}-{seed}", record, given.tolist(), wanted.tolist())
    return given


def table_of(results: Results) -> Table:
    """A row for each label, a column for each task."""
    columns = {run.record.task["name"]: run.record.task["metric_names"] for run in results.runs}
    rows = []
    for label in dict.fromkeys(run.record.label for run in results.runs):
        runs = [run for run in results.runs if run.record.label == label]
        cells = {name: Cell(runs=tuple(r.id for r in runs if r.record.task["name"] == name)) for name in columns}
        rows.append(Row("roberta-base", label, cells))
    return Table("t", "GLUE", [Column(name, name, tuple(parts), name) for name, parts in columns.items()], rows)


def test_numbers_are_those_of_the_metric_on_resampled_rows(tmp_path: Path) -> None:
    ours = [write(tmp_path, "RoCoFT-3-Row", "cola", seed, 0.9) for seed in (0, 1)]
    theirs = [write(tmp_path, "LoRA", "cola", seed, 0.7) for seed in (0, 1, 2)]
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    found = comparison.comparisons["LoRA", "cola"]

    wanted = references("cola")

    def mcc(predictions: list[np.ndarray], rows: np.ndarray) -> list[float]:
        return [100 * np.corrcoef(one[rows], wanted[rows])[0, 1] for one in predictions]  # of 0 and 1, it is Matthews'

    everything = np.arange(ROWS)
    assert found.difference == pytest.approx(np.mean(mcc(ours, everything)) - np.mean(mcc(theirs, everything)))
    drawn = np.random.default_rng(SEED).integers(0, ROWS, (RESAMPLES, ROWS))[:200]
    differences = [np.mean(mcc(ours, rows)) - np.mean(mcc(theirs, rows)) for rows in drawn]
    assert found.low == pytest.approx(np.quantile(differences, 0.025), abs=0.25 * np.std(differences))
    assert found.high == pytest.approx(np.quantile(differences, 0.975), abs=0.25 * np.std(differences))
    assert norm.isf((found.p_examples or 0) / 2) == pytest.approx(found.difference / np.std(differences), rel=0.2)
    assert found.p_seeds == pytest.approx(
        ttest_ind(mcc(ours, everything), mcc(theirs, everything), equal_var=False).pvalue
    )
    assert (found.metric, found.rows, found.our_seeds, found.their_seeds) == ("matthews_correlation", ROWS, 2, 3)


def test_p_values_are_corrected_over_the_row(tmp_path: Path) -> None:
    for label, right in (("RoCoFT-3-Row", 0.9), ("LoRA", 0.6), ("IA3", 0.85)):
        for task in ("rte", "sst2"):
            for seed in (0, 1):
                write(tmp_path, label, task, seed, right)
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    ordered = sorted(comparison.comparisons.values(), key=lambda one: one.p_examples or 0)
    assert [key[0] for key in comparison.comparisons] == ["IA3", "LoRA", "IA3", "LoRA"]
    smallest = ordered[0]
    assert smallest.p_examples_corrected == pytest.approx(4 * (smallest.p_examples or 0))
    assert ordered[-1].p_examples_corrected >= ordered[-1].p_examples
    by_seeds = min(comparison.comparisons.values(), key=lambda one: one.p_seeds or 1)
    assert by_seeds.p_seeds_corrected == pytest.approx(min(1, 4 * (by_seeds.p_seeds or 1)))


def test_a_table_marks_what_is_significant_and_knows_its_runs(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        write(tmp_path, "RoCoFT-3-Row", "rte", seed, 0.95, rows=300)
        write(tmp_path, "LoRA", "rte", seed, 0.6, rows=300)
        write(tmp_path, "BitFit", "rte", seed, 0.95, rows=300)
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    table = comparison.as_table()
    cells = {row.method: row.cell(table.columns[0]) for row in table.rows}
    assert list(cells) == ["BitFit", "LoRA"]
    assert cells["LoRA"].text.endswith("] *†")
    assert not cells["BitFit"].text.endswith(("*", "†"))
    (part,) = cells["LoRA"].parts
    assert cells["LoRA"].text.startswith(f"{part.value:+.2f} [")
    assert set(cells["LoRA"].runs) == {f"{label}-rte-{seed}" for label in ("RoCoFT-3-Row", "LoRA") for seed in range(3)}
    assert "2,000 paired bootstrap resamples" in table.notes[0]
    assert "Holm" in table.notes[1]
    assert (table.columns[0].task, table.columns[0].parts, table.columns[0].unit) == ("rte", ("accuracy",), "points")


def test_without_predictions_the_difference_and_the_test_over_seeds_remain(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path, "RoCoFT-3-Row", "rte", seed, 0.9)
        write(tmp_path, "LoRA", "rte", seed, 0.6)
    (tmp_path / "LoRA-rte-1" / "predictions.jsonl").unlink()
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    (found,) = comparison.comparisons.values()
    assert found.low is found.p_examples is found.p_examples_corrected is None
    assert found.difference > 0
    assert found.p_seeds is not None
    assert found.note == "no predictions.jsonl"
    table = comparison.as_table()
    assert "[" not in table.rows[0].cell(table.columns[0]).text
    assert table.notes[-1] == "not compared over examples (no predictions.jsonl): LoRA, rte"


def test_rows_are_not_paired_with_rows_of_other_references(tmp_path: Path) -> None:
    write(tmp_path, "RoCoFT-3-Row", "rte", 0, 0.9)
    write(tmp_path, "LoRA", "rte", 0, 0.6)
    file = tmp_path / "LoRA-rte-0" / "predictions.jsonl"
    swapped = file.read_text().translate(str.maketrans("01", "10"))
    lines = [line.split(", ", 1)[1] for line in swapped.splitlines()]
    file.write_text("".join(f'{{"index": {index}, {line}\n' for index, line in enumerate(lines)))
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    (found,) = comparison.comparisons.values()
    assert (found.p_examples, found.note) == (None, "predictions.jsonl has other references")


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"evaluation": {"kind": "hub", "sha256": "other"}, "train_rows": 9, "eval_rows": 277}},
        {"data": {"evaluation": {"kind": "hub"}, "train_rows": 9, "eval_rows": 277}},
        {"protocol": "another"},
    ],
)
def test_runs_that_were_evaluated_otherwise_are_not_compared(tmp_path: Path, change: dict[str, Any]) -> None:
    write(tmp_path, "RoCoFT-3-Row", "rte", 0, 0.9)
    write(tmp_path, "LoRA", "rte", 0, 0.6, **change)
    write(tmp_path, "BitFit", "rte", 0, 0.6)
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    assert list(comparison.comparisons) == [("BitFit", "rte")]
    assert list(map(list, comparison.left_out.values())) == [["LoRA, rte"]]


def test_a_cell_of_runs_on_different_rows_is_not_compared(tmp_path: Path) -> None:
    write(tmp_path, "RoCoFT-3-Row", "rte", 0, 0.9)
    write(tmp_path, "LoRA", "rte", 0, 0.6)
    write(tmp_path, "LoRA", "rte", 1, 0.6, rows=50)
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    assert not comparison.comparisons
    assert list(map(list, comparison.left_out.values())) == [["LoRA, rte"]]
    assert not comparison.as_table().rows


def test_few_rows_are_not_resampled(tmp_path: Path) -> None:
    write(tmp_path, "RoCoFT-3-Row", "rte", 0, 0.9, rows=8)
    write(tmp_path, "LoRA", "rte", 0, 0.6, rows=8)
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    (found,) = comparison.comparisons.values()
    assert found.p_examples is None
    assert "fewer than 20" in found.note


def test_only_rocoft_rows_with_something_to_be_compared_with(tmp_path: Path) -> None:
    write(tmp_path, "RoCoFT-3-Row", "rte", 0, 0.9)
    write(tmp_path, "RoCoFT-3-Column", "rte", 0, 0.9)
    results = read_results(tmp_path)
    assert list(compare_methods(results, [table_of(results)])) == []
    write(tmp_path, "LoRA", "sst2", 0, 0.6)
    write(tmp_path, "RoCoFT-3-Row", "sst2", 0, 0.6)
    results = read_results(tmp_path)
    found = list(compare_methods(results, [table_of(results)]))
    assert [(one.row.method, len(one.comparisons)) for one in found] == [("RoCoFT-3-Row", 1)]


@pytest.mark.parametrize("name", ["lora", "LoRA"])
def test_any_method_may_be_ours_by_its_name_or_its_row(tmp_path: Path, name: str) -> None:
    for label, right in (("RoCoFT-3-Row", 0.9), ("LoRA", 0.6)):
        write(tmp_path, label, "rte", 0, right)
    results = read_results(tmp_path)
    (found,) = compare_methods(results, [table_of(results)], name)
    ((key, one),) = found.comparisons.items()
    assert (found.row.method, key) == ("LoRA", ("RoCoFT-3-Row", "rte"))
    (usual,) = compare_methods(results, [table_of(results)])
    assert one.difference == -usual.comparisons["LoRA", "rte"].difference


def test_progress_counts_all_cells(tmp_path: Path) -> None:
    for label in ("RoCoFT-3-Row", "LoRA"):
        for task in ("rte", "sst2"):
            write(tmp_path, label, task, 0, 0.8)
    results = read_results(tmp_path)
    told: list[tuple[int, int]] = []
    list(compare_methods(results, [table_of(results)], progress=lambda done, total: told.append((done, total))))
    assert told == [(2, 4), (4, 4)]


def test_csv_has_every_number_in_full(tmp_path: Path) -> None:
    write(tmp_path, "RoCoFT-3-Row", "rte", 0, 0.9)
    write(tmp_path, "LoRA", "rte", 0, 0.6)
    results = read_results(tmp_path)
    (comparison,) = compare_methods(results, [table_of(results)])
    (line,) = csv.DictReader(io.StringIO(comparisons_csv(comparison.comparisons.values())))
    (found,) = comparison.comparisons.values()
    assert (float(line["difference"]), float(line["low"]), line["p_seeds"]) == (found.difference, found.low, "")
    assert (line["method"], line["baseline"], line["task"], line["rows"]) == ("RoCoFT-3-Row", "LoRA", "rte", "60")


def test_rows_that_differ_alike_are_compared_with_each_other(tmp_path: Path) -> None:
    """One trained for an epoch is compared with others of an epoch, where there are any."""
    for label in ("RoCoFT-3-Row", "LoRA", "FT"):
        write(tmp_path, label, "rte", 0, 0.8)
    results = read_results(tmp_path)
    row, lora, full = sorted(table_of(results).rows, key=lambda row: ["RoCoFT-3-Row", "LoRA", "FT"].index(row.method))

    def compared(ours: str, *theirs: str) -> list[str]:
        rows = [replace(r, variant=v) for r, v in zip((row, lora, full), (ours, *theirs), strict=True)]
        table = replace(table_of(results), rows=rows)
        return [other.method for comparison in compare_methods(results, [table]) for other in comparison.others]

    assert compared("epochs=1", "epochs=1", "epochs=2") == ["LoRA"]
    assert sorted(compared("selection=max", "epochs=1", "epochs=2")) == ["FT", "LoRA"]
    assert sorted(compared("", "", "")) == ["FT", "LoRA"]
