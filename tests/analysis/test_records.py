"""What is found in a folder of results, and what happens to files that are no records."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.report import read_results
from tests.made_up import efficiency_record, kernel_record, run_record, write_record, write_run


def test_all_kinds_of_records_are_found_at_any_depth(tmp_path: Path) -> None:
    write_record(tmp_path / "a/b/run", run_record())
    write_record(tmp_path / "kernels/sst-2", kernel_record())
    write_record(tmp_path / "bench", efficiency_record())
    results = read_results(tmp_path)
    assert [run.id for run in results.runs] == ["a/b/run"]
    assert results.kernels[0].record.task == "sst-2"
    assert results.efficiency[0].id == "bench"
    assert results.problems == []


@pytest.mark.parametrize("name", ["record.json", "kernels.json", "efficiency.json"])
def test_files_that_are_no_records_are_named_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    whole = {"record.json": run_record(), "kernels.json": kernel_record(), "efficiency.json": efficiency_record()}[name]
    write_record(tmp_path / "good", run_record())
    contents = {
        "partial": whole.model_dump_json()[:50],
        "future": json.dumps({**whole.model_dump(), "schema_version": 99, "new field": 1}),
        "foreign": "[]",
        "binary": "\x00\x01",
        "empty": "",
    }
    for folder, content in contents.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content)
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / name).write_bytes(b'{"status": "\xe9"}')
    results = read_results(tmp_path)
    assert len(results.runs) == 1
    assert {problem.path.parent.name for problem in results.problems} == {*contents, "latin"}
    reasons = {problem.path.parent.name: problem.reason for problem in results.problems}
    assert "schema version 99" in reasons["future"]
    assert all("\n" not in reason and reason for reason in reasons.values())


def test_a_folder_without_records_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rocoft train"):
        read_results(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        read_results(tmp_path / "nowhere")


def test_the_other_files_of_a_run_are_read_as_far_as_they_are_whole(tmp_path: Path) -> None:
    write_run(tmp_path / "run", run_record(), [1, 0, 1], [1, 1, 1], losses=[3.0, 2.0, 1.0], config="a: 1\n")
    (run,) = read_results(tmp_path).runs
    assert run.losses() == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert [row["prediction"] for row in run.predictions()] == [1, 0, 1]
    assert len(run.predictions(limit=2)) == 2
    assert run.config_text == "a: 1\n"
    assert run.provenance is None
    with (tmp_path / "run" / "history.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')
    (tmp_path / "run" / "predictions.jsonl").write_text('{"index": 0}\n{"ind')
    assert len(run.losses()) == 3
    assert run.predictions() == []


def test_lines_that_are_no_losses_and_predictions_that_are_none_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "run", run_record())
    lines = ['{"step": 1, "loss": 2.5}', '{"step": 2, "loss": NaN}', '{"step": "x", "loss": 1}', '{"loss": 1}', "[]"]
    (tmp_path / "run" / "history.jsonl").write_text("\n".join(lines))
    (tmp_path / "run" / "predictions.jsonl").write_text('{"index": 0}\n3\n')
    (run,) = read_results(tmp_path).runs
    assert run.losses() == [(1, 2.5)]
    assert run.predictions() == []


def test_what_only_has_the_name_of_a_record_is_named(tmp_path: Path) -> None:
    write_record(tmp_path / "good", run_record())
    (tmp_path / "folder" / "record.json").mkdir(parents=True)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "record.json")
    results = read_results(tmp_path)
    assert len(results.runs) == 1
    assert [problem.reason for problem in results.problems] == ["is not a file"] * 2


def test_folders_that_cannot_be_listed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(tmp_path / "good", run_record())
    write_record(tmp_path / "locked", run_record())
    list_folder = os.scandir

    def refuse(folder: str) -> object:
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(folder))
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    results = read_results(tmp_path)
    assert [run.id for run in results.runs] == ["good"]
    assert results.problems == [(tmp_path / "locked", "cannot be read (Permission denied)")]


def test_long_histories_are_thinned_out(tmp_path: Path) -> None:
    write_run(tmp_path / "run", run_record(), losses=[float(step) for step in range(1, 1001)])
    (run,) = read_results(tmp_path).runs
    losses = run.losses(points=100)
    assert 90 <= len(losses) <= 110
    assert all(loss == step for step, loss in losses)
    assert losses[0][0] == 1
    assert losses[-1][0] > 980


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": {"name": "rte"}}, "family is missing"),
        ({"model": {}}, "name is missing"),
        ({"data": {"evaluation": {}}}, "evaluation.kind is missing"),
        ({"parameters": {"adapter": 1}}, "head is missing"),
        ({"task": {**run_record().task, "metric_names": "accuracy"}}, "metric_names: input should be a valid list"),
        ({"task": {**run_record().task, "settings": {"loss_on": ["x"]}}}, "settings.loss_on"),
        ({"model": {"name": "x", "paper_name": ["x"]}}, "paper_name"),
        ({"method": {"name": ["rocoft"]}}, "method: name"),
        ({"data": {"evaluation": {"kind": "hub"}, "train": 3, "train_rows": 1, "eval_rows": 1}}, "train: input should"),
        ({"data": {"evaluation": {"kind": "hub"}, "train_rows": "many", "eval_rows": 1}}, "train_rows"),
        ({"metrics": {"accuracy": 1e300}}, "metrics.accuracy"),
        ({"parameters": {"adapter": 10**30, "head": 0}}, "parameters.adapter"),
        ({"train_seconds": 1e300}, "train_seconds"),
        ({"train_seconds": 1e24}, "train_seconds"),
        ({"eval_seconds": -5.0}, "eval_seconds"),
        ({"method": {"name": "lora", "rank": "four"}}, "method: rank"),
        ({"metrics": {"accuracy": float("nan")}}, "finite"),
    ],
)
def test_records_that_lack_what_a_table_needs_are_named(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    (tmp_path / "record.json").write_text(json.dumps({**run_record().model_dump(), **changes}))
    (problem,) = read_results(tmp_path).problems
    assert said in problem.reason


def test_pipes_in_the_place_of_a_runs_files_are_not_waited_for(tmp_path: Path) -> None:
    write_record(tmp_path / "run", run_record())
    for name in ("config.yaml", "history.jsonl", "predictions.jsonl", "provenance.json"):
        os.mkfifo(tmp_path / "run" / name)
    (run,) = read_results(tmp_path).runs
    assert (run.config_text, run.losses(), run.predictions(), run.provenance) == (None, [], [], None)
