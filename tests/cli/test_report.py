"""`rocoft report` from the command line: what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.made_up import run_record, write_record, write_run

Cli = Callable[..., Any]

FILES = {"index.html", "tables.md", "tables.tex", "cells.csv", "comparisons.csv", "figures"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two methods with two seeds each on RTE, with predictions for 40 rows."""
    references = [row % 2 for row in range(40)]
    for label, wrong in (("RoCoFT-3-Row", 4), ("LoRA", 12)):
        for seed in (0, 1):
            predictions = [1 - r if row < wrong + seed else r for row, r in enumerate(references)]
            metrics = {"accuracy": 1 - (wrong + seed) / 40}
            record = run_record(label=label, seed=seed, metrics=metrics)
            record.data["eval_rows"] = 40
            write_run(tmp_path / "results" / f"{label}-{seed}", record, predictions, references, losses=[1.0, 0.5])
    return tmp_path / "results"


def cells(folder: Path) -> list[dict[str, str]]:
    with (folder / "cells.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def the_cell(folder: Path, method: str, column: str) -> dict[str, str]:
    (found,) = [row for row in cells(folder) if (row["method"], row["column"]) == (method, column)]
    return found


def test_a_report_is_printed_and_written(rocoft: Cli, results: Path) -> None:
    result = rocoft("report", results)
    assert result.code == 0, result.err
    assert {file.name for file in (results / "report").iterdir()} == FILES
    assert {file.suffix for file in (results / "report" / "figures").iterdir()} == {".png", ".svg"}
    assert "88.75 ± 1.77 (n=2)" in result.out
    assert "+10.44" in result.out  # to the paper's 78.31
    assert "Adapter-S" not in result.out  # was not run
    assert "Adapter-S" in (results / "report" / "tables.md").read_text()
    assert str(results / "report" / "index.html") in result.out


def test_another_method_is_compared_with_the_others(rocoft: Cli, results: Path) -> None:
    assert rocoft("report", results, "--ours", "lora", "--margin", 50).code == 0
    assert "equivalent: smaller than 50 points either way" in (results / "report" / "tables.md").read_text()
    with (results / "report" / "comparisons.csv").open(newline="", encoding="utf-8") as stream:
        (line,) = csv.DictReader(stream)
    assert (line["method"], line["baseline"]) == ("LoRA", "RoCoFT-3-Row")
    refused = rocoft("report", results, "--ours", "lorra")
    assert refused.code == 2
    assert 'did you mean "LoRA"' in refused.err or 'did you mean "lora"' in refused.err


def test_values_are_those_of_the_predictions(rocoft: Cli, results: Path) -> None:
    rocoft("report", results)
    for method in ("RoCoFT-3-Row", "LoRA"):
        shares = []
        for seed in (0, 1):
            lines = (results / f"{method}-{seed}" / "predictions.jsonl").read_text().splitlines()
            rows = [json.loads(line) for line in lines]
            shares.append(100 * sum(row["prediction"] == row["reference"] for row in rows) / len(rows))
        assert float(the_cell(results / "report", method, "rte")["value"]) == pytest.approx(sum(shares) / 2)


def test_methods_are_compared(rocoft: Cli, results: Path) -> None:
    rocoft("report", results)
    with (results / "report" / "comparisons.csv").open(newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["method"], row["baseline"], row["task"], row["rows"]) == ("RoCoFT-3-Row", "LoRA", "rte", "40")
    assert float(row["difference"]) == pytest.approx(20)
    assert float(row["low"]) < 20 < float(row["high"])


def test_a_second_report_replaces_the_first(rocoft: Cli, results: Path) -> None:
    rocoft("report", results)
    record = run_record(label="FT", metrics={"accuracy": 0.5})
    record.data["eval_rows"] = 40
    write_record(results / "FT", record)
    assert rocoft("report", results).code == 0
    assert the_cell(results / "report", "FT", "rte")["value"] == "50.0"


def test_files_that_cannot_be_read_are_named_counted_and_skipped(rocoft: Cli, results: Path) -> None:
    record = run_record()
    contents = {
        "half": record.model_dump_json()[:50],
        "future": json.dumps({**record.model_dump(), "schema_version": 99}),
        "foreign": "[]",
    }
    for name, content in contents.items():
        (results / name).mkdir()
        (results / name / "record.json").write_text(content)
    result = rocoft("report", results)
    assert result.code == 1
    assert "88.75" in result.out
    assert [line.count("record.json") for line in result.err.splitlines() if line.startswith("skipped: ")] == [1, 1, 1]
    assert all(name in result.err for name in contents)
    assert "3 files skipped" in result.err
    assert "schema version 99" in (results / "report" / "index.html").read_text()


def test_damaged_side_files_cost_nothing_else(rocoft: Cli, results: Path) -> None:
    run = results / "LoRA-0"
    (run / "predictions.jsonl").write_text('{"index": 0, "predic')
    (run / "history.jsonl").write_bytes(b"\xff\xfe\x00")
    (run / "provenance.json").write_text("[1")
    (run / "config.yaml").write_text("a: [")
    result = rocoft("report", results)
    assert result.code == 0, result.err
    assert float(the_cell(results / "report", "LoRA", "rte")["value"]) == pytest.approx(68.75)


def test_two_folders_stand_side_by_side(rocoft: Cli, results: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "other" / "run", run_record(metrics={"accuracy": 0.5}))
    result = rocoft("report", results, "--compare", tmp_path / "other", "--output", tmp_path / "beside")
    assert result.code == 0, result.err
    cell = the_cell(tmp_path / "beside", "RoCoFT-3-Row", "rte")
    assert [float(cell[key]) for key in ("value", "reference", "difference")] == pytest.approx([88.75, 50, 38.75])
    assert not (results / "report").exists()


def test_what_the_other_folder_alone_has_is_shown(rocoft: Cli, results: Path, tmp_path: Path) -> None:
    write_record(tmp_path / "other" / "run", run_record(label="Adapter-S", metrics={"accuracy": 0.4321}))
    result = rocoft("report", results, "--compare", tmp_path / "other", "--output", tmp_path / "beside")
    assert "Adapter-S" in result.out
    assert "43.21" in result.out


def test_the_audit_needs_no_results(rocoft: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = rocoft("report", "--audit")
    assert result.code == 0, result.err
    assert "84.11" in result.out  # LoRA's first average in Table 1
    assert "84.32" in result.out  # as it is printed
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_used_is_said_in_one_line(rocoft: Cli, results: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for arguments, said in (
        ((tmp_path / "absent",), "no such folder"),
        ((tmp_path / "empty",), "rocoft train"),
        ((results, "--compare", tmp_path / "absent"), "no such folder"),
        ((results, "--output", tmp_path / "file"), "--output"),
    ):
        result = rocoft("report", *arguments)
        assert result.code == 2
        assert result.err.count("\n") == 1
        assert said in result.err
