"""Tables of training runs: which runs share a cell, what stands beside them, and what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rocoft_bench import paper, tasks
from rocoft_bench.analysis.references import PAPER_TABLES
from rocoft_bench.config import config_files, config_root, find_config, override, read_settings
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.report import Cell, Column, Row, Run, Table, read_results
from rocoft_bench.report.tables.runs import run_tables, selection_tables
from rocoft_bench.runs import RunRecord, config_values
from tests.made_up import (
    ABOVE_PAPER,
    ROBERTA,
    ROCOFT,
    SEED_STEP,
    a_run,
    complete_results,
    long_table_of,
    run_record,
    write_run,
)

OTHER_MODEL = {"name": "some/minilm", "paper_name": None}
LARGE = {"name": "FacebookAI/roberta-large", "paper_name": "roberta-large"}


def tables_of(*records: RunRecord) -> list[Table]:
    return run_tables(long_table_of([a_run(record, str(index)) for index, record in enumerate(records)]))


def the_table(*records: RunRecord) -> Table:
    (table,) = tables_of(*records)
    return table


def cell(table: Table, method: str, column: str, model: str = "roberta-base") -> Cell:
    (found,) = [row.cell(table.column(column)) for row in table.of_model(model) if row.title == method]
    return found


def paper_value(task: str, metric: str, method: str, model: str = "roberta-base", table: int = 1) -> float:
    key = (table, model, method, task, metric)
    return next(r.value for r in paper.results() if (r.table, r.model, r.method, r.task, r.metric) == key)


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> list[Table]:
    root = tmp_path_factory.mktemp("complete")
    complete_results(root, seeds=2)
    return run_tables(long_table_of(read_results(root).runs))


def test_every_cell_of_the_papers_tables_is_met(complete: list[Table]) -> None:
    """Ours, the paper's, and the difference, on runs that are better than the paper by a known amount."""
    mean = ABOVE_PAPER + SEED_STEP / 2
    met = set()
    for table, row, column, found in ((t, *entry) for t in complete for entry in t.cells()):
        if column.task is None:
            continue
        for part in found.parts:
            assert part.reference is not None
            assert part.value == pytest.approx(part.reference + mean)
            assert part.difference == pytest.approx(mean)
            assert part.deviation == pytest.approx(SEED_STEP / 2**0.5)
            assert part.n == len(found.runs) == 2
        met |= {(table.number, row.model, row.method, column.key, index) for index in range(len(found.parts))}
    assert len(met) == sum(len(layout.results) for layout in PAPER_TABLES)
    assert len(met) == len([r for r in paper.results() if r.task != "average"])


def test_the_tables_have_the_papers_rows_and_order(complete: list[Table]) -> None:
    assert [table.number for table in complete] == ["1", "2", "6", "7", "7", "11", "12"]
    first, second = complete[0], complete[1]
    printed = [r for r in paper.results() if r.table == 1]
    assert [row.method for row in first.rows] == list(dict.fromkeys(r.method for r in printed))
    tasks = [column.key for column in first.columns if column.task]
    assert tasks == ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"]
    assert first.column("mrpc").parts == ("acc", "F1")
    assert second.models == ["bloomz-7b", "gpt-j-6b", "llama-2-7b", "llama-2-13b"]


def test_table_7s_rocoft_rows_stand_beside_rank_3(complete: list[Table]) -> None:
    squad = next(table for table in complete if table.key == "table7-squad")
    em = cell(squad, "RoCoFT-3-Row", "v1.1", "deberta-v3-base").parts[0]
    assert em.reference == paper_value("squad_v1", "exact_match", "RoCoFT-Row", "deberta-v3-base", 7)
    assert "does not print RoCoFT's rank" in squad.conditions["Paper"]


def test_the_average_is_of_all_tasks_and_stands_beside_the_printed_one(complete: list[Table]) -> None:
    first, second = cell(complete[0], "LoRA", "average").parts
    mean = ABOVE_PAPER + SEED_STEP / 2
    ours = [r for r in paper.results() if (r.table, r.method) == (1, "LoRA") and r.task != "average"]
    firsts = {r.task: r.value for r in reversed(ours)}  # the first metric of each task comes last here and stays
    assert first.value == pytest.approx(sum(firsts.values()) / 8 + mean)
    assert (first.reference, second.reference) == (84.32, 87.28)
    seconds = [r.value for r in ours if (r.task, r.metric) in {("mrpc", "f1"), ("stsb", "spearman"), ("qqp", "f1")}]
    assert second.value == pytest.approx(sum(seconds) / 3 + mean)


def test_best_and_second_are_marked_within_a_model(complete: list[Table]) -> None:
    for model in complete[1].models:
        rows = complete[1].of_model(model)
        column = complete[1].column("boolq")
        ordered = sorted((row.cell(column).parts[0] for row in rows), key=lambda part: -(part.value or 0))
        assert ordered[0].highlight == "best"
        values = sorted({round(part.value or 0, 2) for part in ordered}, reverse=True)
        for part in ordered:
            expected = {values[0]: "best", values[1]: "second"}.get(round(part.value or 0, 2))
            assert part.highlight == expected


def test_the_heading_of_averages_names_what_there_is() -> None:
    """A second average needs two tasks with a second metric."""
    for task, names in (("rte", ("",)), ("stsb", ("first", "second"))):
        records = [run_record(task=name, label="mine", model=OTHER_MODEL) for name in ("mrpc", task)]
        table = the_table(*records)
        assert table.column("average").parts == names
        assert len(cell(table, "mine", "average", "minilm").parts) == len(names)


ON_ATTENTION = {"name": "lora", "rank": 8, "target_modules": ["query", "key", "value"]}


def lora_on(*names: str, **changes: Any) -> list[RunRecord]:
    return [run_record(task=name, label="LoRA", method={**ON_ATTENTION, **changes}) for name in names]


def test_a_row_keeps_its_sst2_although_table_8_shows_that_run_too() -> None:
    glue = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")
    table = the_table(*lora_on(*glue))
    assert cell(table, "LoRA", "sst2").parts[0].value == pytest.approx(75)
    assert cell(table, "LoRA", "average").parts[0].value == pytest.approx(75)
    assert not any("Table 8" in note for note in table.notes)


def test_runs_that_table_8_alone_shows_are_counted_in_a_note() -> None:
    table = the_table(*lora_on("rte"), *lora_on("sst2", rank=64), *lora_on("sst2", rank=2))
    assert cell(table, "LoRA", "sst2").is_empty
    (note,) = [note for note in table.notes if "Table 8" in note]
    assert note.startswith("sst2: 2 runs")
    assert tables_of(*lora_on("sst2")) == []


@pytest.mark.parametrize(
    ("loss_on", "stated"),
    [
        ("response", "on the response only"),
        ("sequence", "on the whole sequence, prompt included"),
        (None, "on the labels"),
    ],
)
def test_the_loss_is_stated(loss_on: str | None, stated: str) -> None:
    record = run_record("math", "gsm8k") if loss_on else run_record()
    record.task["settings"] = {"loss_on": loss_on} if loss_on else {}
    assert the_table(record).conditions["Loss"] == stated


def test_mean_rank_over_tasks() -> None:
    scores = {"LoRA": (0.9, 0.5), "FT": (0.8, 0.6), "RoCoFT-3-Row": (0.7, 0.7), "BitFit": (0.6, None)}
    records = []
    for label, (cola, rte) in scores.items():
        records.append(run_record(task="cola", label=label, metrics={"matthews_correlation": cola}))
        if rte is not None:
            records.append(run_record(task="rte", label=label, metrics={"accuracy": rte}))
    table = the_table(*records)
    ranks = {row.title: row.cell(table.column("mean_rank")).parts[0].value for row in table.rows if row.title in scores}
    assert ranks == {"LoRA": 2.0, "FT": 2.0, "RoCoFT-3-Row": 2.0, "BitFit": None}


def test_a_cell_is_mean_and_deviation_over_seeds() -> None:
    table = the_table(*(run_record(seed=seed, metrics={"accuracy": v}) for seed, v in enumerate((0.7, 0.8, 0.75))))
    (part,) = cell(table, "RoCoFT-3-Row", "rte").parts
    assert (part.value, part.deviation, part.n) == (pytest.approx(75), pytest.approx(5), 3)
    assert cell(table, "RoCoFT-3-Row", "rte").runs == ("0", "1", "2")
    assert table.conditions["Seeds"] == "0, 1, 2"


def test_what_was_not_run_is_empty_and_keeps_the_papers_value() -> None:
    table = the_table(run_record())
    (part,) = cell(table, "LoRA", "rte").parts
    assert (part.value, part.n, part.difference) == (None, 0, None)
    assert part.reference == paper_value("rte", "accuracy", "LoRA")
    assert cell(table, "RoCoFT-3-Row", "cola").is_empty
    assert cell(table, "RoCoFT-3-Row", "average").parts[0].value is None


def test_failed_runs_are_visible() -> None:
    ok, oom = run_record(), run_record(seed=1, status="oom", metrics=None, train_seconds=None)
    found = cell(the_table(ok, oom), "RoCoFT-3-Row", "rte")
    assert (found.failures, found.parts[0].n, found.runs) == (("oom",), 1, ("0", "1"))


def test_a_repeated_run_counts_once() -> None:
    """Two runs of one seed are no two seeds. The later one counts, and one with a result before one without."""
    early = run_record(metrics={"accuracy": 0.5})
    late = run_record(metrics={"accuracy": 0.7}, finished_at="2026-02-01T00:00:00+00:00")
    crashed = run_record(status="crashed", metrics=None, finished_at="2026-03-01T00:00:00+00:00")
    table = the_table(early, late, crashed)
    (part,) = cell(table, "RoCoFT-3-Row", "rte").parts
    assert (part.value, part.n) == (pytest.approx(70), 1)
    assert any(note.startswith("runs left out") and note.endswith(": 2") for note in table.notes)


def test_another_model_has_the_papers_numbers_without_differences() -> None:
    table = the_table(run_record(model=OTHER_MODEL))
    (row,) = table.rows
    (part,) = row.cell(table.column("rte")).parts
    assert (row.model, row.reference_title, table.number) == ("minilm", "paper (roberta-base)", None)
    assert part.reference == paper_value("rte", "accuracy", "RoCoFT-3-Row")
    assert part.difference is None
    assert "is not a model of the paper" in table.conditions["Paper"]
    assert [column.key for column in table.columns if column.task] == ["rte"]


def test_roberta_large_is_table_6() -> None:
    table = the_table(run_record(model=LARGE))
    (part,) = cell(table, "RoCoFT-3-Row", "rte", "roberta-large").parts
    assert table.number == "6"
    assert part.reference == paper_value("rte", "accuracy", "RoCoFT-3-Row", "roberta-large", 6)


@pytest.mark.parametrize(
    "change",
    [
        {"model": OTHER_MODEL},
        {"model": LARGE},
        {"data": {"evaluation": {"kind": "data_dir", "sha256": "rte-rows"}, "train_rows": 5, "eval_rows": 277}},
        {"keep": "best"},
        {"method": {"name": "rocoft", "mode": "random", "probability": 0.1}, "label": "RoCoFT-random-p0.1"},
    ],
    ids=["model", "paper's model", "data", "checkpoint", "random entries"],
)
def test_runs_that_do_not_compare_have_their_own_table(change: dict[str, Any]) -> None:
    tables = tables_of(run_record(), run_record(**change))
    assert len({table.key for table in tables}) == 2
    assert len({table.title for table in tables}) == 2


@pytest.mark.parametrize("setting", [{"protocol": "published"}, {"loss_on": "response"}, {"max_eval_rows": 10}])
def test_protocol_loss_and_limited_rows_have_their_own_table(setting: dict[str, Any]) -> None:
    usual, other = run_record("math", "gsm8k"), run_record("math", "gsm8k")
    usual.task["settings"] = {"protocol": "strict", "loss_on": "sequence", "max_eval_rows": None}
    other.task["settings"] = usual.task["settings"] | setting
    assert len({table.key for table in tables_of(usual, other)}) == 2


def test_strict_results_have_no_difference_to_leaking_ones() -> None:
    record = run_record("math", "gsm8k", model={"name": "llama", "paper_name": "llama-2-7b"})
    record.task["settings"] = {"protocol": "strict"}
    table = the_table(record)
    (part,) = cell(table, "RoCoFT-3-Row", "gsm8k", "llama-2-7b").parts
    assert part.reference == paper_value("gsm8k", "accuracy", "RoCoFT-3-Row", "llama-2-7b", 2)
    assert part.difference is None
    assert "hold (part of) the right answer" in table.conditions["Paper"]


def test_results_on_the_first_rows_have_no_difference_to_those_on_all() -> None:
    record = run_record()
    record.task["settings"] = {"max_eval_rows": 50}
    table = the_table(record)
    (part,) = cell(table, "RoCoFT-3-Row", "rte").parts
    assert (part.reference, part.difference) == (paper_value("rte", "accuracy", "RoCoFT-3-Row"), None)
    assert "without differences" in table.conditions["Paper"]


def test_nor_has_their_average(complete: list[Table]) -> None:
    glue = [task.name for task in tasks.all_tasks() if task.family == "glue"]
    records = [run_record(task=name) for name in glue]
    for record in records:
        record.task["settings"] = {"max_train_rows": 50}
    averages = cell(the_table(*records), "RoCoFT-3-Row", "average").parts
    assert [(part.value, part.difference) for part in averages] == [(pytest.approx(75), None)] * 2
    assert all(part.difference is not None for part in cell(complete[0], "RoCoFT-3-Row", "average").parts)


def test_runs_with_other_settings_do_not_share_a_cell() -> None:
    other = run_record(settings_hash="other", method={**ROCOFT, "selection": "max"}, seed=1)
    rows = [row for row in the_table(run_record(), other).rows if row.method == "RoCoFT-3-Row"]
    assert [row.cells["rte"].parts[0].n for row in rows] == [1, 1]
    assert [row.variant for row in rows] == ["", "selection=max"]


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"evaluation": {"kind": "hub", "sha256": "other rows"}, "train_rows": 2490, "eval_rows": 277}},
        {"data": {"train": {"sha256": "x"}, "evaluation": {"kind": "hub"}, "train_rows": 9, "eval_rows": 277}},
        {"data": {"evaluation": {"kind": "hub", "id": "other/data"}, "train_rows": 2490, "eval_rows": 277}},
        {"data": {**run_record().data, "eval_rows": 100}},
        {"protocol": "the nearest label word"},
        {"model": {**ROBERTA, "weights_sha256": "other weights"}},
    ],
    ids=["evaluation rows", "training rows", "source", "number of rows", "protocol", "weights"],
)
def test_runs_on_other_examples_of_a_task_do_not_share_a_table(change: dict[str, Any]) -> None:
    usual = run_record(model={**ROBERTA, "weights_sha256": "weights"})
    other = run_record(**{"model": usual.model, "seed": 1, "metrics": {"accuracy": 0.2}, **change})
    tables = tables_of(usual, other)
    assert sorted(cell(table, "RoCoFT-3-Row", "rte").parts[0].value for table in tables) == pytest.approx([20, 75])
    assert not [row.variant for table in tables for row in table.rows if row.variant]
    assert len({table.key for table in tables}) == 2


def test_methods_are_ranked_beside_those_that_were_judged_on_the_same_examples() -> None:
    def records(label: str, rte: float, cola: float) -> list[RunRecord]:
        scores = {"rte": {"accuracy": rte}, "cola": {"matthews_correlation": cola}}
        return [run_record(task=task, label=label, metrics=metrics) for task, metrics in scores.items()]

    of_all = [*records("LoRA", 0.7, 0.1), *records("FT", 0.6, 0.2), *records("RoCoFT-3-Row", 0.9, 0.3)]
    assert cell(the_table(*of_all), "RoCoFT-3-Row", "rte").parts[0].highlight == "best"
    assert cell(the_table(*of_all), "RoCoFT-3-Row", "mean_rank").parts[0].value == 1
    of_all[-2].data["eval_rows"] = 50
    table, other = tables_of(*of_all)
    assert cell(table, "LoRA", "rte").parts[0].highlight == "best"
    assert cell(table, "RoCoFT-3-Row", "cola").parts[0].highlight == "best"
    assert cell(table, "LoRA", "mean_rank").parts[0].value == 1.5
    assert cell(table, "RoCoFT-3-Row", "mean_rank").parts[0].value is None
    assert cell(other, "RoCoFT-3-Row", "rte").parts[0].value == pytest.approx(90)


def on_first(task: str, count: int, label: str = "LoRA", total: int = 9000, **changes: Any) -> RunRecord:
    """A run on the first so many training examples."""
    source = {"kind": "data_dir", "num_rows": total, "sha256": f"{task}-rows"}
    held_out = {"kind": "data_dir", "num_rows": 277, "sha256": f"{task}-validation"}
    data = {"train": source, "evaluation": held_out, "train_rows": count, "eval_rows": 277}
    record = run_record(task=task, label=label, model=OTHER_MODEL, data=data, **changes)
    record.task["settings"] = {"data_dir": "data", "max_length": 128, "max_train_rows": count, "max_eval_rows": None}
    return record


def test_sweeps_on_different_numbers_of_examples_have_tables_of_their_own() -> None:
    """Within each the best are marked, and ranked over its tasks."""
    few = [on_first(t, n, label) for t, n in (("sst2", 600), ("rte", 300)) for label in ("LoRA", "FT", "BitFit")]
    many = [on_first(t, n, label) for t, n in (("sst2", 2000), ("cola", 4000)) for label in ("LoRA", "FT")]
    for rank, record in enumerate([*few, *many]):
        record.metrics = dict.fromkeys(record.task["metric_names"], 0.9 - rank / 100)
    tables = tables_of(*few, *many)
    assert [table.title for table in tables] == [
        "glue, minilm, local data, first 2,000 to 4,000 training examples",
        "glue, minilm, local data, first 300 to 600 training examples",
    ]
    assert [[column.key for column in table.columns if column.task] for table in tables] == [
        ["cola", "sst2"],
        ["sst2", "rte"],
    ]
    for table in tables:
        assert cell(table, "LoRA", "sst2", "minilm").parts[0].highlight == "best"
        assert cell(table, "LoRA", "mean_rank", "minilm").parts[0].value == 1
        assert not [row.variant for row in table.rows if row.variant]
    assert "sst2: first 600 of 9,000 training examples, 277 of validation" in tables[1].conditions["Data"]
    assert tables[1].conditions["Data"].count("sst2") == 1


def test_tasks_of_one_sweep_share_a_table_whatever_their_numbers_of_examples() -> None:
    table = the_table(on_first("sst2", 2000), on_first("cola", 300), on_first("rte", 50))
    assert table.title == "glue, minilm, local data, first 50 to 2,000 training examples"
    assert len([column for column in table.columns if column.task]) == 3


def test_the_same_number_of_examples_binds_tasks_more_than_methods_do() -> None:
    """One that has not come to its end yet puts nothing into the wrong table."""
    records = [
        on_first(task, count, label)
        for task in ("rte", "mrpc")
        for count in (100, 500)
        for label in ("LoRA", "FT")
        if (task, count, label) != ("mrpc", 500, "FT")
    ]
    tables = tables_of(*records)
    endings = [f"first {count} of 9,000 training examples" for count in (500, 100)]
    assert [table.title.rpartition(", ")[2] for table in tables] == endings
    assert cell(tables[0], "FT", "mrpc", "minilm").is_empty


def test_a_run_that_failed_early_stands_with_those_of_its_limit() -> None:
    failed = on_first("rte", 100, seed=1, status="oom", metrics=None)
    failed.data.clear()
    tables = tables_of(on_first("rte", 500), on_first("rte", 100), failed)
    assert [cell(table, "LoRA", "rte", "minilm").failures for table in tables] == [(), ("oom",)]


def test_a_limit_that_leaves_nothing_out_is_none() -> None:
    assert the_table(on_first("rte", 5000, total=2490)).title == "glue, minilm, local data"


@pytest.mark.parametrize(
    ("setting", "told"), [({"max_length": 64}, "max_length 64"), ({"data_dir": "other"}, "examples of other")]
)
def test_titles_say_what_sets_tables_apart(setting: dict[str, Any], told: str) -> None:
    one, other = on_first("rte", 300), on_first("rte", 300)
    other.task["settings"] |= setting
    other.data["train"]["sha256"] = "other examples" if "data_dir" in setting else "rte-rows"
    assert {table.title.rpartition(", ")[2] for table in tables_of(one, other)} >= {told}


def test_a_result_that_is_missing_one_metric_or_all_is_told() -> None:
    whole, part, none = (run_record(task="mrpc", seed=seed) for seed in range(3))
    part.metrics = {"accuracy": 0.5}
    part.task["metric_names"] = ["accuracy"]
    none.metrics = {}
    found = cell(the_table(whole, run_record(task="mrpc", label="LoRA"), part, none), "RoCoFT-3-Row", "mrpc")
    assert [part.n for part in found.parts] == [2, 1]
    assert found.failures == ("no result",)


def test_rows_from_github_are_the_tasks_own_and_failures_stand_beside_them() -> None:
    source = {"kind": "github", "id": "owner/repo", "revision": "1" * 40, "sha256": "x"}
    data = {"train": source, "evaluation": source, "train_rows": 9, "eval_rows": 8}
    failed = run_record("math", "gsm8k", seed=1, status="oom", metrics=None, data={})
    table = the_table(run_record("math", "gsm8k", data=data), failed)
    (row,) = [row for row in table.rows if row.method == "RoCoFT-3-Row"]
    assert (row.cells["gsm8k"].parts[0].n, row.cells["gsm8k"].failures) == (1, ("oom",))
    assert table.conditions["Data"] == "GitHub: owner/repo @ 1111111111, 9 training examples, 8 of test"


def test_the_best_average_and_mean_rank_are_marked(complete: list[Table]) -> None:
    rows = complete[0].rows
    for key, best in (("average", max), ("mean_rank", min)):
        values = {row.title: row.cells[key].parts[0] for row in rows}
        expected = best(part.value or 0 for part in values.values())
        assert {part.value for part in values.values() if part.highlight == "best"} == {expected}


def test_task_versions_do_not_share_a_cell() -> None:
    old, new = run_record(), run_record(seed=1)
    new.task["version"] = old.task["version"] + 1
    versions = {f"task version {v}" for v in (old.task["version"], new.task["version"])}
    assert {table.title.rpartition(", ")[2] for table in tables_of(old, new)} == versions


def config_text(**training: Any) -> str:
    values = "".join(f"  {key}: {value}\n" for key, value in training.items())
    return f"task: {{family: glue, name: rte}}\nmethod: {{name: rocoft, rank: 3}}\ntraining:\n{values}"


def test_rows_are_named_by_the_settings_in_which_they_differ(tmp_path: Path) -> None:
    for index, rate in enumerate((0.001, 0.002)):
        record = run_record(settings_hash=f"hash {index}")
        write_run(tmp_path / str(index), record, config=config_text(learning_rate=rate))
    table = the_table_of(tmp_path)
    rows = [row.title for row in table.rows if row.method == "RoCoFT-3-Row"]
    assert rows == ["RoCoFT-3-Row, learning_rate=0.001", "RoCoFT-3-Row, learning_rate=0.002"]


def test_settings_that_change_nothing_do_not_tell_cells_apart(tmp_path: Path) -> None:
    """Where the rows lie, how often checkpoints are made, whether it was evaluated before, 16 or 16.0."""
    texts = [config_text(learning_rate=1), config_text(learning_rate=1.0, evaluate_before="true", checkpoint_seconds=5)]
    texts[1] = texts[1].replace("name: rte", "name: rte, data_dir: elsewhere")
    for index, text in enumerate(texts):
        write_run(tmp_path / str(index), run_record(settings_hash=f"hash {index}", seed=index), config=text)
    (part,) = cell(the_table_of(tmp_path), "RoCoFT-3-Row", "rte").parts
    assert part.n == 2


def leave(folder: Path, number: int, method: dict[str, Any], epochs: int = 3, task: str = "rte", **more: Any) -> None:
    """A run of RoCoFT with three rows on one of GLUE's tasks."""
    settings = {"task": {"family": "glue", "name": task}, "method": {"name": "rocoft", "rank": 3, **method}, **more}
    text = yaml.safe_dump({**settings, "training": {"epochs": epochs, "learning_rate": 0.01}})
    write_run(folder / str(number), run_record(task=task, settings_hash=f"hash {number}"), config=text)


def test_what_is_usual_is_left_out_of_the_names_of_rows(tmp_path: Path) -> None:
    """The method's defaults, and of other settings what most rows have; the method's own are named first, and all."""
    anew = {"reselect_every": 30, "reselect_by": "wanda", "selection": "random", "target_modules": ["query", "value"]}
    methods = [{}, {"selection": "random"}, {"reselect_every": 30}, anew]
    for number, method in enumerate(methods):
        leave(tmp_path, number, method)
    leave(tmp_path, 4, {}, epochs=1)
    leave(tmp_path, 5, {}, epochs=1, model={"quantization": "nf4"})
    assert [variant for variant, _ in rows_of_runs(tmp_path)] == [
        "",
        "epochs=1",
        "epochs=1, quantization=nf4",
        "reselect_every=30",
        "selection=random",
        "selection=random, reselect_every=30, reselect_by=wanda, target_modules=query + value",
    ]


def test_of_many_settings_those_are_named_that_tell_a_row_from_its_neighbours(tmp_path: Path) -> None:
    same = {"batch_size": 8, "warmup_steps": 1, "lr_scheduler": "constant", "max_grad_norm": 2.0, "weight_decay": 0.3}
    for number, changes in enumerate(({}, {}, {}, {}, {}, {**same, "epochs": 7}, {**same, "epochs": 8})):
        values = {"learning_rate": (number + 1) / 100 if number < 5 else 0.01, "epochs": 2, **changes}
        write_run(tmp_path / str(number), run_record(settings_hash=f"hash {number}"), config=config_text(**values))
    names = [variant for variant, _ in rows_of_runs(tmp_path)]
    assert names == [
        "epochs=7, batch_size=8, weight_decay=0.3, 4 more",
        "epochs=8, batch_size=8, weight_decay=0.3, 4 more",
        *(f"learning_rate=0.0{rate}" for rate in range(1, 6)),
    ]


def test_all_linear_layers_are_said_in_short(tmp_path: Path) -> None:
    roles = ["query", "key", "value", "attention_output", "ffn_in", "ffn_out"]
    for number, targets in enumerate((None, roles, roles[:5])):
        leave(tmp_path, number, {"target_modules": targets}, model={"name": "roberta-base"})
    variants = [variant for variant, _ in rows_of_runs(tmp_path)]
    assert variants[:2] == ["", "target_modules=all linear"]
    assert variants[2] == "target_modules=query + key + value + attention_output + ffn_in"


def test_the_same_settings_are_in_one_row_on_all_tasks(tmp_path: Path) -> None:
    """One task had a single rate, which is one of two on the other."""
    for number, (task, rate) in enumerate((("rte", 0.1), ("rte", 0.2), ("cola", 0.2))):
        text = config_text(learning_rate=rate).replace("name: rte", f"name: {task}")
        write_run(tmp_path / str(number), run_record(task=task, settings_hash=f"hash {number}"), config=text)
    rows = {row.variant: row for row in the_table_of(tmp_path).rows if row.method == "RoCoFT-3-Row"}
    assert list(rows) == ["learning_rate=0.1", "learning_rate=0.2"]
    assert not rows["learning_rate=0.2"].cells["cola"].is_empty


SHIPPED = [str(file.relative_to(config_root())) for file in config_files() if "axes" not in read_settings(file).values]


def leave_run(folder: Path, config: str, **changes: Any) -> None:
    """A finished run of a shipped config, as the program itself writes it down. changes: of the settings."""
    settings = read_settings(find_config(config))
    for key, value in changes.items():
        settings.update(override(key, value), "test")
    experiment = resolve(settings)
    identity = {name: getattr(experiment.identity, name) for name in ("config_hash", "settings_hash")}
    record = run_record(experiment.task.family, experiment.task.name, seed=experiment.config.seed, **identity)
    facts = {"label": experiment.method.label, "method": experiment.config.method}
    text = yaml.safe_dump(config_values(experiment.config))
    write_run(folder, record.model_copy(update=facts), config=text)


def rows_of_runs(folder: Path) -> list[tuple[str, int]]:
    """The variant of each row with results, and how many runs it is made of."""
    found = [(row.variant, cell.runs) for _, row, _, cell in cells_of(folder) if cell.runs]
    return [(variant, len(runs)) for variant, runs in dict(found).items()]


def cells_of(folder: Path) -> list[tuple[Table, Row, Column, Cell]]:
    return [
        (table, *entry) for table in run_tables(long_table_of(read_results(folder).runs)) for entry in table.cells()
    ]


@pytest.mark.parametrize("config", SHIPPED)
def test_seeds_of_every_task_join_whatever_changes_nothing_in_training(config: str, tmp_path: Path) -> None:
    leave_run(tmp_path / "a", config, seed=0)
    elsewhere = {"training.evaluate_before": True, "training.checkpoint_seconds": 5.0, "task.data_dir": "elsewhere"}
    leave_run(tmp_path / "b", config, seed=1, **elsewhere if "demo" not in config else {})
    assert rows_of_runs(tmp_path) == [("", 2)]


@pytest.mark.parametrize("config", SHIPPED)
def test_rows_of_every_task_are_named_by_the_settings_in_which_they_differ(config: str, tmp_path: Path) -> None:
    for epochs in (1, 2):
        leave_run(tmp_path / str(epochs), config, **{"training.epochs": epochs})
    assert rows_of_runs(tmp_path) == [("epochs=1", 1), ("epochs=2", 1)]


def test_a_model_is_the_same_under_each_of_its_names(tmp_path: Path) -> None:
    for seed, name in enumerate(("roberta-base", "FacebookAI/roberta-base", "./roberta-base")):
        leave_run(tmp_path / str(seed), "glue/rte.yaml", **{"seed": seed, "model.name": name})
    assert rows_of_runs(tmp_path) == [("", 3)]


def test_settings_that_this_version_refuses_tell_rows_apart_all_the_same(tmp_path: Path) -> None:
    for index, rate in enumerate((0.001, 0.002)):
        text = config_text(learning_rate=rate, of_an_earlier_version=1)
        write_run(tmp_path / str(index), run_record(settings_hash=f"hash {index}"), config=text)
    assert rows_of_runs(tmp_path) == [("learning_rate=0.001", 1), ("learning_rate=0.002", 1)]


def the_table_of(folder: Path) -> Table:
    (table,) = run_tables(long_table_of(read_results(folder).runs))
    return table


def test_parameters_are_adapter_and_head_beside_the_printed_count() -> None:
    table = the_table(run_record(), run_record(task="cola", parameters={"adapter": 269568, "head": 592130}))
    adapter = cell(table, "RoCoFT-3-Row", "adapter")
    assert (adapter.text, adapter.reference_text, adapter.parts[0].value) == ("248,832 … 269,568", "0.249M", 269568)
    assert cell(table, "RoCoFT-3-Row", "head").parts[0].value == 592130
    assert "column of its own" in table.conditions["Head"]


def test_conditions_say_what_was_run_where(tmp_path: Path) -> None:
    hardware = {"cpu": "x", "cpu_count": 4, "torch_threads": 2, "gpus": ["H200", "H200"]}
    write_run(tmp_path / "run", run_record(), provenance={"hardware": hardware})
    stated = the_table_of(tmp_path).conditions
    assert stated["Hardware"] == "2 × H200"
    assert stated["Model"] == "roberta-base"
    assert "2,490 training examples, 277 of validation" in stated["Data"]
    assert stated["Protocol"] == "argmax over the classes"
    assert stated["Checkpoint"] == "last epoch"
    assert "accuracy" in stated["Metric"]
    assert set(stated) >= {"Loss", "Head", "Seeds"}


def test_a_damaged_provenance_costs_the_hardware_only(tmp_path: Path) -> None:
    write_run(tmp_path / "run", run_record())
    (tmp_path / "run" / "provenance.json").write_text("{half")
    assert the_table_of(tmp_path).conditions["Hardware"] == "not recorded"


def test_notes_of_the_runs_are_shown_once() -> None:
    fewer, cut = "only the first 9 of 40 training examples are used", "2 examples were cut"
    table = the_table(run_record(label="LoRA", notes=[fewer, cut]), run_record(label="FT", notes=[fewer]))
    assert [note for note in table.notes if "rte: " in note] == [f"LoRA on rte: {cut}", f"rte: {fewer}"]


def test_notes_that_differ_in_numbers_only_are_one() -> None:
    """A method's own name in them is not said twice, and rows of earlier versions are examples."""
    notes = {
        "LoRA": "lora has its own learning rate 0.0005 (the config's 0.002 is rocoft's)",
        "IA3": "ia3 has its own learning rate 3e-05 (the config's 0.002 is rocoft's)",
    }
    records = [run_record(label=label, notes=[note]) for label, note in notes.items()]
    for task, count in (("rte", 30), ("cola", 30), ("mrpc", 4)):
        record = run_record(task=task, label="FT", notes=[f"{count} training rows fill max_length 128"])
        records.append(record)
    told = [note for note in the_table(*records).notes if "rte" in note]
    assert told == [
        "has its own learning rate … (the config's 0.002 is rocoft's): IA3 on rte (3e-05); LoRA on rte (0.0005)",
        "… training examples fill max_length 128: FT on cola and rte (30); FT on mrpc (4)",
    ]


def test_unreadable_answers_are_told_and_compared_by_nobody() -> None:
    record = run_record("math", "gsm8k", metrics={"accuracy": 0.5, "unparsed": 0.25})
    table = the_table(record)
    assert table.column("gsm8k").parts == ("acc",)
    assert "RoCoFT-3-Row, gsm8k: up to 25.0 % of answers unreadable" in table.notes


def test_runs_that_failed_before_they_had_data_stand_in_the_same_cell() -> None:
    crashed = run_record(status="crashed", data={}, parameters={}, metrics=None, seed=1)
    found = cell(the_table(run_record(), crashed), "RoCoFT-3-Row", "rte")
    assert (found.parts[0].n, found.failures) == (1, ("crashed",))


def test_settings_that_were_wrong_have_a_table_of_their_own() -> None:
    facts = {"family": "glue", "name": "rte", "metric_names": [], "eval_split": ""}
    failed = run_record(status="failed", metrics=None, protocol="", error="rank is not a setting")
    wrong = failed.model_copy(update={"task": facts})
    tables = tables_of(run_record(), wrong)
    assert tables[1].title == "not run: wrong settings"
    assert tables[1].rows[0].cells["why"].text == "rank is not a setting"


def selection_record(selection: str, mode: str = "row", **changes: Any) -> RunRecord:
    method = {"name": "rocoft", "mode": mode, "rank": 4, "selection": selection, "target_modules": None}
    label = f"RoCoFT-4-{mode.capitalize()}"
    return run_record(label=label, method=method, settings_hash=f"{mode}-{selection}", **changes)


def test_figure_4_is_a_table_of_selections() -> None:
    records = [selection_record(s, m, metrics={"accuracy": 0.5}) for s in ("max", "min") for m in ("row", "column")]
    runs = [a_run(record, str(index)) for index, record in enumerate([*records, run_record()])]
    (table,) = selection_tables(long_table_of(runs))
    assert table.number == "Figure 4"
    assert sorted(row.title for row in table.rows) == [
        f"RoCoFT-4-{mode}, selection={selection}" for mode in ("Column", "Row") for selection in ("max", "min")
    ]
    assert selection_tables(long_table_of(runs[-2:])) == []


def test_runs_of_table_8_are_left_to_it() -> None:
    method = {"name": "lora", "rank": 8, "target_modules": ["query", "key", "value"]}
    attention = run_record(task="sst2", label="LoRA", method=method, settings_hash="attention")
    tables = tables_of(attention)
    assert tables == []
    assert len(tables_of(attention, run_record())) == 1


def test_a_model_of_the_paper_from_a_local_folder_is_that_model() -> None:
    run = Run("x", run_record(model={**ROBERTA, "name": "roberta-base"}), Path("nowhere"))
    assert run_tables(long_table_of([run]))[0].models == ["roberta-base"]
