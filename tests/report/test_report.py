from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import paper
from rocoft_bench.errors import UserError
from rocoft_bench.report import build_tables, read_records
from rocoft_bench.runs import RunRecord


def record(**changes: Any) -> RunRecord:
    values: dict[str, Any] = {
        "status": "ok",
        "config_hash": "h",
        "settings_hash": "s",
        "label": "RoCoFT-3-Row",
        "task": {"family": "glue", "name": "rte", "metric_names": ["accuracy"], "eval_split": "validation"},
        "protocol": "argmax over the classes",
        "method": {"name": "rocoft"},
        "model": {"name": "FacebookAI/roberta-base", "paper_name": "roberta-base"},
        "data": {"evaluation": {"kind": "hub"}, "eval_rows": 277},
        "seed": 0,
        "parameters": {"adapter": 248832, "head": 592130},
        "metrics": {"accuracy": 0.78},
        "keep": "last",
        "train_seconds": 10.0,
        "peak_memory_mib": 100.0,
        "finished_at": "2026-01-01T00:00:00+00:00",
    }
    return RunRecord.model_validate({**values, **changes})


def cell(records: list[RunRecord], row: int, column: str) -> str:
    (table,) = build_tables(records)
    return table.rows[row].cells[table.columns.index(column)]


def paper_value(task: str, metric: str, method: str, model: str = "roberta-base", table: int = 1) -> float:
    return next(
        r.value
        for r in paper.results()
        if (r.table, r.model, r.method, r.task, r.metric) == (table, model, method, task, metric)
    )


def test_a_cell_is_mean_and_deviation_over_seeds() -> None:
    runs = [record(seed=seed, metrics={"accuracy": value}) for seed, value in enumerate((0.7, 0.8, 0.75))]
    assert cell(runs, 0, "rte acc") == "75.00 ± 5.00 (n=3)"


def test_the_papers_row_stands_below_ours() -> None:
    value = paper_value("rte", "accuracy", "RoCoFT-3-Row")
    (table,) = build_tables([record()])
    assert table.rows[1].from_paper
    assert table.rows[1].cells[0].strip() == "paper, Table 1"
    assert cell([record()], 1, "rte acc") == f"{value:.2f}"


def test_another_model_shows_the_papers_row_as_what_it_is() -> None:
    run = record(model={"name": "some/minilm", "paper_name": None})
    (table,) = build_tables([run])
    assert "roberta-base" in table.rows[1].cells[0]
    assert any("is not a model of the paper" in note for note in table.notes)


def test_roberta_large_is_table_6() -> None:
    run = record(model={"name": "FacebookAI/roberta-large", "paper_name": "roberta-large"})
    assert cell([run], 1, "rte acc") == f"{paper_value('rte', 'accuracy', 'RoCoFT-3-Row', 'roberta-large', 6):.2f}"


def test_runs_with_other_settings_do_not_share_a_cell() -> None:
    runs = [record(), record(settings_hash="other", seed=1, metrics={"accuracy": 0.2})]
    assert cell(runs, 0, "rte acc") == "78.00"
    assert cell(runs, 1, "rte acc") == "20.00"


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"name": "other/model", "paper_name": None}},
        {"data": {"evaluation": {"kind": "data_dir"}, "eval_rows": 277}},
        {"keep": "best"},
    ],
)
def test_runs_of_another_model_data_or_rule_have_their_own_table(change: dict[str, Any]) -> None:
    assert len(build_tables([record(), record(**change)])) == 2


def test_failed_runs_are_visible_and_missing_ones_empty() -> None:
    cola = {"family": "glue", "name": "cola", "metric_names": ["matthews_correlation"], "eval_split": "validation"}
    runs = [record(), record(label="LoRA", task=cola, status="oom", metrics=None, train_seconds=None)]
    (table,) = build_tables(runs)
    rows = {row.cells[0]: dict(zip(table.columns, row.cells, strict=True)) for row in table.rows}
    assert rows["LoRA"]["cola mcc"] == "[oom]"
    assert rows["LoRA"]["rte acc"] == ""
    assert rows["RoCoFT-3-Row"]["cola mcc"] == ""


def test_notes_of_the_runs_are_shown() -> None:
    (table,) = build_tables([record(notes=["only the first 9 of 40 training rows are used"])])
    assert "RoCoFT-3-Row, rte: only the first 9 of 40 training rows are used" in table.notes


def test_a_note_that_all_methods_share_is_shown_once() -> None:
    fewer, cut = "only the first 9 of 40 training rows are used", "2 rows were cut"
    (table,) = build_tables([record(label="LoRA", notes=[fewer, cut]), record(label="FT", notes=[fewer])])
    assert [note for note in table.notes if "rte: " in note] == [f"LoRA, rte: {cut}", f"rte: {fewer}"]


def test_unreadable_records_are_named_and_the_rest_is_reported(tmp_path: Path, rocoft: Callable[..., Any]) -> None:
    for name, content in (
        ("good", record().model_dump_json()),
        ("half", record().model_dump_json()[:50]),
        ("future", json.dumps({**record().model_dump(), "schema_version": 99})),
        ("foreign", "[]"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(content)
    records, problems = read_records(tmp_path)
    assert len(records) == 1
    assert [any(name in problem for problem in problems) for name in ("half", "future", "foreign")] == [True] * 3
    result = rocoft("report", tmp_path, "--markdown", tmp_path / "report.md")
    assert result.code == 1
    assert "78.00" in result.out
    assert result.err.count("skipped: ") == 3
    assert "| RoCoFT-3-Row | 248,832 | 592,130 | 78.00 |" in (tmp_path / "report.md").read_text()


def test_a_folder_without_runs_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rocoft train"):
        read_records(tmp_path)


def test_runs_that_failed_before_they_had_data_stand_in_the_same_table(
    rocoft: Callable[..., Any], tmp_path: Path
) -> None:
    """Also one whose settings were wrong, which knows nothing but names."""
    task = {"family": "glue", "name": "rte", "metric_names": [], "eval_split": ""}
    failures = [
        record(status="crashed", data={}, parameters={}, metrics=None, seed=1),
        record(
            status="failed",
            data={},
            parameters={},
            metrics=None,
            task=task,
            protocol="",
            settings_hash="w",
            error="rank is not a setting",
        ),
    ]
    for index, run in enumerate([record(), *failures]):
        (tmp_path / str(index)).mkdir()
        (tmp_path / str(index) / "record.json").write_text(run.model_dump_json())
    result = rocoft("report", tmp_path)
    assert result.code == 0
    assert result.out.count("glue, roberta-base") == 1
    assert "78.00 [crashed]" in result.out
    assert "not run: wrong settings" in result.out
    assert "rank is not a setting" in result.out
