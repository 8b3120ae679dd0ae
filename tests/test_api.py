"""Runs and results from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocoft_bench.analysis.long_table import COLUMNS
from rocoft_bench.api import evaluate, load_results, run
from rocoft_bench.errors import UserError
from tests.made_up import efficiency_record, kernel_record, run_record, write_record, write_run


def test_a_run_from_python_is_recorded_evaluated_and_read(tmp_path: Path, tiny_model: Path, glue_dir: Path) -> None:
    changes = {"method": "bitfit", "model": str(tiny_model), "task.data_dir": str(glue_dir), "training.epochs": 1}
    record = run("glue/rte.yaml", {**changes, "seed": 3}, tmp_path / "run")
    assert (record.status, record.method["name"], record.seed) == ("ok", "bitfit", 3)
    assert run("glue/rte.yaml", {**changes, "seed": 3}, tmp_path / "run") == record
    again = evaluate(tmp_path / "run", {"training.eval_batch_size": 7})
    assert again.metrics == pytest.approx(record.metrics)
    table = load_results(tmp_path)
    own = table[(table.metric == record.task["metric_names"][0]) & (table.id == "run")]
    assert own.value.tolist() == [pytest.approx(100 * record.metrics[record.task["metric_names"][0]])]
    settings = {"task": {"family": "glue", "name": "rte"}, "training": {"epohs": 1}}
    with pytest.raises(UserError, match="epohs"):
        run(settings, changes, tmp_path / "other")


def test_the_table_has_a_row_for_each_value_of_each_record(tmp_path: Path) -> None:
    write_run(tmp_path / "run", run_record(task="mrpc", metrics={"accuracy": 0.5, "f1": 0.25}, notes=["cut inputs"]))
    write_run(tmp_path / "failed", run_record(status="oom", metrics=None))
    write_record(tmp_path / "kernels", kernel_record(kernels={"K_row": {"accuracy": 0.9, "f1": 0.8}}))
    write_record(tmp_path / "bench", efficiency_record())
    table = load_results(tmp_path)
    assert list(table.columns) == list(COLUMNS)
    values = table.set_index(["id", "metric"]).value
    assert (values["run", "accuracy"], values["run", "f1"], values["run", "adapter"]) == (50, 25, 248832)
    assert values["bench", "seconds_per_step"] == 0.1
    kernels = table[table.source == "kernels"]
    assert list(zip(kernels.kernel, kernels.metric, kernels.value, strict=True)) == [
        ("K_row", "accuracy", 90.0),
        ("K_row", "f1", 80.0),
    ]
    failed = table[(table.id == "failed") & (table.metric == "accuracy")]
    assert (failed.value.isna().tolist(), failed.failure.tolist()) == ([True], ["oom"])
    conditions = table[table.id == "run"].iloc[0]
    assert (conditions.model, conditions.checkpoint, conditions.notes) == ("roberta-base", "last", ("cut inputs",))
    assert (conditions.train_examples, conditions.eval_examples) == (2490, 277)


def test_records_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "run", run_record())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "record.json").write_text("{")
    with pytest.warns(UserWarning, match="broken"):
        assert set(load_results(tmp_path).id) == {"run"}
