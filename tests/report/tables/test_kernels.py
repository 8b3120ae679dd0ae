"""Tables 4, 5 and 13: by value, on made-up kernel analyses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.analysis.table import Row, Table
from rocoft_bench.report.tables.kernel_tables import kernel_tables
from rocoft_bench.runs import KernelRecord
from tests.made_up import kernel_record, long_table_of, stored

DEMO = {"name": "demo-roberta", "kind": "embedded", "paper_name": None, "weights_sha256": "f00"}


def tables(*records: KernelRecord, folder: Path = Path("nowhere")) -> dict[str, Table]:
    analyses = [stored(record, f"analysis-{index}", folder) for index, record in enumerate(records)]
    made = kernel_tables(long_table_of(kernels=analyses))
    assert len({table.key for table in made}) == len(made)
    return {table.key: table for table in made}


def row(table: Table, title: str) -> Row:
    return {row.title: row for row in table.rows}[title]


def accuracies(**values: float) -> dict[str, Any]:
    return {name: {"accuracy": value} for name, value in values.items()}


def test_nothing_is_made_of_nothing() -> None:
    assert tables() == {}


def test_accuracies_are_means_over_seeds_beside_the_papers() -> None:
    table = tables(
        kernel_record("sst-2", 16, 13, kernels=accuracies(K_row=0.88)),
        kernel_record("sst-2", 16, 21, kernels=accuracies(K_row=0.90)),
    )["table4"]
    own = row(table, "K_row, 16-shot")
    (part,) = own.cells["sst-2"].parts
    assert (part.value, part.n) == (pytest.approx(89.0), 2)
    assert part.deviation == pytest.approx(2**0.5)
    assert (part.reference, part.reference_deviation) == (88.5, 0.4)
    assert part.difference == pytest.approx(0.5)
    assert own.cells["sst-2"].runs == ("analysis-0", "analysis-1")
    assert own.reference_title == "paper"


def test_table_4_is_laid_out_as_in_the_paper_and_cells_not_run_are_empty() -> None:
    table = tables(kernel_record("sst-2", 16))["table4"]
    tasks = ["sst-2", "sst-5", "mr", "cr", "mpqa", "subj", "mnli", "snli", "qnli", "rte", "mrpc", "qqp"]
    assert [column.task for column in table.columns] == tasks
    names = ["Full FT", "K_θ", "K_row", "K_col", "K_LoRA"]
    assert [row.title for row in table.rows] == [
        *(f"{name}, 16-shot" for name in names),
        *(f"{name}, 64-shot" for name in names[:-1]),
    ]
    missing = row(table, "K_col, 64-shot").cells["rte"]
    assert missing.is_empty
    assert (missing.parts[0].reference, missing.parts[0].difference) == (62.7, None)
    assert [own.title for own, column, _ in table.cells() if column.task != "sst-2"] == []


def test_differences_of_kernels_go_to_the_table_of_their_shots() -> None:
    made = tables(kernel_record("trec", 16), kernel_record("qqp", 64))
    assert list(made) == ["table4", "table5", "table13"]
    (part,) = row(made["table5"], "K_LoRA, p = 2").cells["trec"].parts
    assert (part.value, part.reference, part.reference_deviation) == (0.2, 0.151, 0.078)
    assert part.difference == pytest.approx(0.049)
    (part,) = row(made["table13"], "K_row, p = 1").cells["qqp"].parts
    assert (part.value, part.reference) == (0.1, 0.049)
    assert row(made["table13"], "K_LoRA, p = 1").reference_title == ""
    assert row(made["table5"], "K_row, p = 1").cells["qqp"].parts[0].value is None
    assert {row.method for row in made["table5"].rows} == {"K_row", "K_col", "K_LoRA"}
    assert {column.decimals for column in made["table5"].columns} == {3}


def test_other_shots_stand_by_themselves_without_references() -> None:
    made = tables(kernel_record("sst-2", 8))
    assert made["kernel-differences-8-shot"].number is None
    own = row(made["table4"], "K_row, 8-shot")
    assert own.cells["sst-2"].parts[0].reference is None
    assert own.reference_title == ""
    assert "table5" not in made


def test_another_model_has_tables_of_its_own_and_no_differences() -> None:
    made = tables(kernel_record("sst-2", 16), kernel_record("mr", 16, model=DEMO))
    assert list(made) == ["table4", "table5", "table4-demo-roberta", "table5-demo-roberta"]
    assert row(made["table4"], "K_row, 16-shot").cells["mr"].is_empty
    table = made["table4-demo-roberta"]
    assert [column.key for column in table.columns] == ["mr"]
    own = row(table, "K_row, 16-shot")
    (part,) = own.cells["mr"].parts
    assert (part.value, part.reference, part.difference) == (87.0, 83.9, None)
    assert own.reference_title == "paper (roberta-base)"
    assert any("not the paper's model" in note for note in table.notes)


def test_models_of_one_name_and_other_weights_never_share_a_table() -> None:
    made = tables(kernel_record(model=DEMO), kernel_record(model={**DEMO, "weights_sha256": "ba5"}))
    assert [key for key in made if key.startswith("table4")] == ["table4-demo-roberta", "table4-demo-roberta-2"]


def test_other_settings_have_rows_of_their_own_named_by_what_differs() -> None:
    records = [
        kernel_record("sst-2", 16, 13, settings_hash=f"rank {rank}", settings={"folds": 5, "lora_rank": rank})
        for rank in (4, 8)
    ]
    table = tables(*records)["table4"]
    assert row(table, "K_LoRA, 16-shot, lora_rank=4").cells["sst-2"].runs == ("analysis-0",)
    assert row(table, "K_LoRA, 16-shot, lora_rank=8").cells["sst-2"].runs == ("analysis-1",)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "another template"},
        {"data": {"evaluation": {"kind": "hub", "sha256": "other rows"}, "eval_rows": 10}},
        {"settings_hash": "other"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_protocol_or_data_never_shares_a_cell(change: dict[str, Any]) -> None:
    table = tables(kernel_record("sst-2", 16, 13), kernel_record("sst-2", 16, 21, **change))["table4"]
    first, second = (own for own in table.rows if own.method == "K_row" and own.variant.startswith("16"))
    assert (first.cells["sst-2"].runs, second.cells["sst-2"].runs) == (("analysis-0",), ("analysis-1",))
    assert second.variant == "16-shot, other settings or data (2)"


def test_failures_are_shown_beside_what_others_gave() -> None:
    table = tables(
        kernel_record("sst-2", 16, 13),
        kernel_record("sst-2", 16, 21, status="oom", kernels={}, data={}),
        kernel_record("rte", 16, 13, status="failed", kernels=accuracies(K_full=0.6)),
    )["table4"]
    cell = row(table, "K_row, 16-shot").cells["sst-2"]
    assert (cell.parts[0].n, cell.failures, cell.runs) == (1, ("oom",), ("analysis-0", "analysis-1"))
    assert row(table, "K_θ, 16-shot").cells["rte"].failures == ()
    assert row(table, "K_row, 16-shot").cells["rte"].failures == ("failed",)


def test_failures_are_shown_where_nothing_else_is() -> None:
    table = tables(kernel_record("sst-2", 8, status="nan", kernels={}, data={}, model=DEMO))["table4-demo-roberta"]
    assert {own.cells["sst-2"].failures for own in table.rows} == {("nan",)}


def test_of_repeated_seeds_the_latest_result_counts_and_the_rest_is_told() -> None:
    table = tables(
        kernel_record("sst-2", 16, 13, kernels=accuracies(K_row=0.8), finished_at="2026-01-01T00:00:00+00:00"),
        kernel_record("sst-2", 16, 13, kernels=accuracies(K_row=0.9), finished_at="2026-01-02T00:00:00+00:00"),
        kernel_record("sst-2", 16, 13, status="oom", kernels={}, finished_at="2026-01-03T00:00:00+00:00"),
    )["table4"]
    cell = row(table, "K_row, 16-shot").cells["sst-2"]
    assert (cell.parts[0].value, cell.parts[0].n, cell.failures) == (90.0, 1, ())
    assert any(note.startswith("analyses left out") and note.endswith(": 2") for note in table.notes)


def test_f1_stands_beside_accuracy_where_it_was_taken() -> None:
    table = tables(kernel_record("mrpc", 16, kernels={"K_row": {"accuracy": 0.7, "f1": 0.8}}))["table4"]
    parts = row(table, "K_row, 16-shot").cells["mrpc"].parts
    assert table.column("mrpc").parts == ("acc", "F1")
    assert [(part.value, part.reference) for part in parts] == [(70.0, 69.3), (80.0, None)]
    assert table.column("qqp").parts == ("acc",)


def test_conditions_and_notes_are_stated(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps({"hardware": {"gpus": ["NVIDIA X", "NVIDIA X"]}}))
    table = tables(
        kernel_record("sst-2", 16, 21, notes=["100 test rows only"]), kernel_record("mr", 16, 13), folder=tmp_path
    )["table4"]
    assert table.conditions["Seeds"] == "13, 21"
    assert table.conditions["Hardware"] == "2 × NVIDIA X"
    assert table.conditions["Protocol"].startswith('sst-2, mr: "S It was [MASK]."')
    assert "872 examples" in table.conditions["Data"]
    assert "sst-2: 100 test examples only" in table.notes


@pytest.mark.parametrize("text", [None, "{", "[]", '{"hardware": "fast"}'])
def test_a_missing_or_damaged_provenance_costs_the_hardware_only(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "provenance.json").write_text(text)
    assert tables(kernel_record(), folder=tmp_path)["table4"].conditions["Hardware"] == "not recorded"


def test_alignment_has_a_table_where_it_was_taken() -> None:
    assert not [key for key in tables(kernel_record()) if "alignment" in key]
    records = [
        kernel_record(seed=seed, kernels={"K_full": {"accuracy": 0.9}, "K_ia3": {"alignment": value}})
        for seed, value in ((13, 0.8), (21, 0.9))
    ]
    [table] = [table for key, table in tables(*records).items() if "alignment" in key]
    [row] = table.rows
    assert row.title == "K_IA3, 16-shot"
    [part] = row.cells["sst-2"].parts
    assert (part.value, part.n, part.reference) == (pytest.approx(0.85), 2, None)
