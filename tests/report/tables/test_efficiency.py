"""Tables 3 and 8 and the numbers of Figure 2: by value, on made-up runs and benches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import paper
from rocoft_bench.analysis.groups import records_of
from rocoft_bench.analysis.long_table import long_table
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Row, Table, with_unique_keys
from rocoft_bench.report.tables.benches import complexity_tables, cost_tables, formula_value, plain
from rocoft_bench.report.tables.ranks import is_table_8, rank_tables
from rocoft_bench.runs import EfficiencyRecord, RunRecord
from tests.made_up import a_run, efficiency_record, long_table_of, run_record, stored

ATTENTION = ["query", "key", "value"]
DEMO = {"name": "demo-roberta", "kind": "embedded", "paper_name": None, "weights_sha256": "f00"}


def efficiency_tables(results: Results) -> list[Table]:
    table = long_table(results)
    return with_unique_keys([*complexity_tables(table), *rank_tables(table), *cost_tables(table)])


def tables(*records: RunRecord | EfficiencyRecord, folder: Path = Path("nowhere")) -> dict[str, Table]:
    results = Results(Path("results"))
    for index, record in enumerate(records):
        if isinstance(record, RunRecord):
            results.runs.append(a_run(record, f"run-{index}"))
        else:
            results.efficiency.append(stored(record, f"bench-{index}", folder))
    made = efficiency_tables(results)
    assert len({table.key for table in made}) == len(made)
    return {table.key: table for table in made}


def as_row(record: RunRecord) -> Any:
    (row,) = records_of(long_table_of([a_run(record)]))
    return row


def row(table: Table, title: str) -> Row:
    return {row.title: row for row in table.rows}[title]


def method(name: str = "rocoft row", rank: int = 4, **changes: Any) -> dict[str, Any]:
    name, _, mode = name.partition(" ")
    return {"name": name, "rank": rank, "target_modules": ATTENTION, **({"mode": mode} if mode else {}), **changes}


def rank_run(seed: int = 0, accuracy: float = 0.92, **changes: Any) -> RunRecord:
    chosen = changes.pop("method", method())
    values = {"method": chosen, "settings_hash": json.dumps(chosen), "metrics": {"accuracy": accuracy}, **changes}
    return run_record("glue", "sst2", seed=seed, **values)


def rank_bench(**changes: Any) -> EfficiencyRecord:
    return efficiency_record(**{"method": method(), "task": "sst2", **changes})


def test_nothing_is_made_of_nothing() -> None:
    assert tables() == {}


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (method("rocoft row"), True),
        (method("rocoft column", target_modules=["value", "query", "key"]), True),
        (method("lora"), True),
        (method("rocoft random"), False),
        (method("dora"), False),
        (method("lora", target_modules=["query", "value"]), False),
        (method("lora", target_modules="query|key|value"), False),
        (method("rocoft row", target_modules=None), False),
        (method("rocoft row", rank=None), False),
        ({"target_modules": ATTENTION, "rank": 4}, False),
        ({}, False),
    ],
)
def test_what_table_8_compares(chosen: dict[str, Any], expected: bool) -> None:
    assert is_table_8(as_row(rank_run(method=chosen))) is expected
    assert not is_table_8(as_row(run_record("glue", "rte", method=chosen)))


def test_runs_that_could_not_start_are_not_of_table_8() -> None:
    wrong = rank_run(status="failed", metrics=None)
    wrong.task["metric_names"] = []
    assert not is_table_8(as_row(wrong))


def test_table_8_has_accuracy_over_seeds_beside_the_papers() -> None:
    table = tables(rank_run(0, 0.92), rank_run(1, 0.94), rank_run(method=method("lora"), accuracy=0.9))["table8"]
    own = row(table, "RoCoFT-Row, rank 4")
    (part,) = own.cells["sst2"].parts
    assert (part.value, part.n, part.reference) == (pytest.approx(93.0), 2, pytest.approx(92.3))
    assert part.difference == pytest.approx(0.7)
    assert part.deviation == pytest.approx(2**0.5)
    assert own.cells["sst2"].runs == ("run-0", "run-1")
    assert own.reference_title == "paper"
    assert row(table, "LoRA, rank 4").cells["sst2"].parts[0].value == pytest.approx(90.0)


def test_table_8_is_laid_out_as_in_the_paper_and_cells_not_run_are_empty() -> None:
    table = tables(rank_run(method=method(rank=3)))["table8"]
    titles = [f"{name}, rank {rank}" for rank in (1, 2, 4, 8, 64) for name in ("LoRA", "RoCoFT-Row", "RoCoFT-Column")]
    assert [own.title for own in table.rows if own.title != "RoCoFT-Row, rank 3"] == titles
    assert row(table, "RoCoFT-Row, rank 3").reference_title == ""
    missing = row(table, "RoCoFT-Column, rank 1")
    assert all(cell.is_empty for cell in missing.cells.values())
    assert missing.cells["adapter"].reference_text == "0.022M"
    assert missing.cells["train_seconds"].parts[0].reference == 179


def test_time_and_memory_are_of_the_runs_where_there_are_no_benches() -> None:
    table = tables(rank_run(train_seconds=100.0, peak_memory_mib=900.0))["table8"]
    own = row(table, "RoCoFT-Row, rank 4")
    (seconds,), (memory,) = own.cells["train_seconds"].parts, own.cells["peak_memory_mib"].parts
    assert (seconds.value, seconds.reference, seconds.difference) == (100.0, 181, None)
    assert (memory.value, memory.reference, memory.difference) == (900.0, 2450, None)
    assert "of the runs" in table.conditions["Time and memory"]
    assert own.cells["train_seconds"].runs == ("run-0",)


def test_benches_give_time_and_memory_and_nothing_is_mixed() -> None:
    lora = rank_run(method=method("lora"))
    bench = rank_bench(seconds_per_step=0.1, steps_per_epoch=2000, peak_memory_mib=1234.0)
    table = tables(rank_run(), lora, bench)["table8"]
    own = row(table, "RoCoFT-Row, rank 4")
    assert own.cells["train_seconds"].parts[0].value == pytest.approx(200.0)
    assert own.cells["peak_memory_mib"].parts[0].value == 1234.0
    assert own.cells["peak_memory_mib"].runs == ("bench-2",)
    assert own.cells["sst2"].parts[0].value == pytest.approx(92.0)
    assert row(table, "LoRA, rank 4").cells["train_seconds"].is_empty
    assert "one epoch" in table.conditions["Time and memory"]


def test_benches_under_other_circumstances_are_left_to_figure_2() -> None:
    others = rank_bench(settings_hash="small batch", batch_size=8, seconds_per_step=9.0)
    benches = [rank_bench(), rank_bench(method=method("lora"), label="LoRA", settings_hash="LoRA"), others]
    made = tables(rank_run(), *benches)
    assert row(made["table8"], "RoCoFT-Row, rank 4").cells["train_seconds"].parts[0].value == pytest.approx(210.5)
    assert any("1 benches under other circumstances" in note for note in made["table8"].notes)
    steps = [own.cells["seconds_per_step"].parts[0].value for own in made["figure2-2"].rows]
    assert sorted([*steps, *(own.cells["seconds_per_step"].parts[0].value for own in made["figure2"].rows)]) == [
        0.1,
        0.1,
        9.0,
    ]


def test_table_8_of_benches_alone() -> None:
    table = tables(rank_bench(parameters={"adapter": 110592, "head": 592130}))["table8"]
    own = row(table, "RoCoFT-Row, rank 4, bench")
    assert own.cells["adapter"].parts[0].value == 110592
    assert own.cells["sst2"].is_empty
    assert own.cells["train_seconds"].parts[0].value == pytest.approx(210.5)


def test_failed_runs_show_in_table_8() -> None:
    failed = rank_run(1, status="oom", metrics=None, data={}, parameters={})
    cell = row(tables(rank_run(0), failed)["table8"], "RoCoFT-Row, rank 4").cells["sst2"]
    assert (cell.parts[0].n, cell.failures, cell.runs) == (1, ("oom",), ("run-0", "run-1"))


def test_another_model_or_checkpoint_rule_has_a_table_8_of_its_own() -> None:
    made = tables(rank_run(0, 0.9), rank_run(1, 0.8, model=DEMO), rank_run(2, 0.7, keep="best"))
    assert list(made) == ["table8", "table8-2", "table8-demo-roberta"]
    own = row(made["table8-demo-roberta"], "RoCoFT-Row, rank 4")
    (part,) = own.cells["sst2"].parts
    assert (part.value, part.n, part.difference) == (pytest.approx(80.0), 1, None)
    assert own.reference_title == "paper (roberta-base)"
    assert len(made["table8-demo-roberta"].rows) == 1
    values = {made[key].conditions["Checkpoint"] for key in ("table8", "table8-2")}
    assert len(values) == 2


def test_other_settings_have_rows_of_their_own_in_table_8() -> None:
    chosen = [method(selection=selection) for selection in ("first", "max")]
    table = tables(*(rank_run(method=one) for one in chosen))["table8"]
    rows = [own for own in table.rows if own.method == "RoCoFT-Row" and own.variant.startswith("rank 4")]
    assert [own.variant for own in rows] == ["rank 4", "rank 4, selection=max"]


def layer_bench(label: str = "LoRA", d_in: int = 768, d_out: int = 768, **changes: Any) -> EfficiencyRecord:
    layer = {"name": "linear", "kind": "layer", "d_in": d_in, "d_out": d_out}
    chosen = changes.get("method", {"name": "lora", "rank": 8})
    return efficiency_record(
        label, **{"model": layer, "method": chosen, "settings_hash": json.dumps([chosen, d_in, d_out]), **changes}
    )


def test_table_3_has_the_papers_formulas_in_plain_text_in_its_order() -> None:
    table = tables(layer_bench())["table3"]
    assert [own.method for own in table.rows][:2] == ["FT", "(IA)³"]
    assert [own.method for own in table.rows][-2:] == ["RoCoFT-Row", "RoCoFT-Column"]
    assert len(table.rows) == 11
    cells = row(table, "AdaLoRA").cells
    texts = [cells[key].text for key in ("space", "time", "trainable_formula", "additional_formula")]
    assert texts == ["O((d + d + r) × r)", "O((d + d + r) × r)", "2dr + r²", "2dr + r²"]
    assert cells["trainable"].is_empty


@pytest.mark.parametrize(
    ("name", "label", "measured", "title", "expected"),
    [
        ({"name": "lora", "rank": 8}, "LoRA", 12288, "LoRA, d = 768, r = 8", 12288),
        ({"name": "adalora", "init_rank": 12, "rank": 8}, "AdaLoRA", 18444, "AdaLoRA, d = 768, r = 12", 18576),
        ({"name": "rocoft", "mode": "row", "rank": 3}, "RoCoFT-3-Row", 2304, "RoCoFT-Row, d = 768, r = 3", 2304),
        ({"name": "full"}, "FT", 589824, "FT, d = 768", 589824),
        ({"name": "prompt-tuning", "num_virtual_tokens": 20}, "Prompt tuning", 1, "Prompt, d = 768, l_p = 20", 15360),
    ],
)
def test_measured_parameters_stand_beside_what_the_formula_gives(
    name: dict[str, Any], label: str, measured: int, title: str, expected: int
) -> None:
    own = row(tables(layer_bench(label, method=name, parameters={"adapter": measured}))["table3"], title)
    (part,) = own.cells["trainable"].parts
    assert (part.value, part.reference, part.difference) == (measured, expected, measured - expected)
    assert own.reference_title == "the paper's formula"
    assert own.cells["additional"].parts[0].value is None


def test_a_layer_that_is_not_square_has_no_formula() -> None:
    own = row(tables(layer_bench(d_in=768, d_out=3072))["table3"], "LoRA, 768 → 3072, r = 8")
    assert own.cells["trainable"].parts[0].reference is None
    assert own.reference_title == ""


def test_methods_that_the_paper_does_not_have_follow_in_table_3() -> None:
    own = tables(layer_bench("DoRA", method={"name": "dora", "rank": 8}))["table3"].rows[-1]
    assert (own.title, own.cells["trainable"].parts[0].value) == ("DoRA, d = 768, r = 8", 248832)


def test_every_printed_count_can_be_computed() -> None:
    sizes = {"d": 10, "r": 2, "l": 3, "L": 4}
    values = {result.method: formula_value(result.trainable, sizes) for result in paper.complexity()}
    assert values == {
        "FT": 100,
        "(IA) ³": 30,
        "Prompt": 30,
        "Prefix": 120,
        "LoRA": 40,
        "LoRA-FA": 20,
        "AdaLoRA": 44,
        "LoHA": 80,
        "BitFit": 10,
        "RoCoFT _{Row}": 20,
        "RoCoFT _{Column}": 20,
    }
    assert all(formula_value(result.additional, sizes) is not None for result in paper.complexity())
    texts = [plain(text) for result in paper.complexity() for text in (result.space, result.time)]
    assert not set("\\${}") & set("".join(texts))


def test_figure_2_has_means_over_seeds_in_the_units_of_its_columns() -> None:
    made = tables(
        efficiency_record(seed=0, seconds_per_step=0.1, flops_per_step=3e11, saved_bytes_per_step=2**20),
        efficiency_record(seed=1, seconds_per_step=0.3, flops_per_step=3e11, saved_bytes_per_step=2**20),
    )
    assert list(made) == ["figure2"]
    (own,) = made["figure2"].rows
    parts = {key: cell.parts[0] for key, cell in own.cells.items()}
    assert (parts["seconds_per_step"].value, parts["seconds_per_step"].n) == (pytest.approx(0.2), 2)
    assert parts["epoch_minutes"].value == pytest.approx(0.2 * 2105 / 60)
    assert (parts["gflop_per_step"].value, parts["saved_mib_per_step"].value) == (pytest.approx(300.0), 1.0)
    assert (parts["model_memory_mib"].value, parts["optimization_memory_mib"].value) == (478.0, 2000.0)
    assert own.reference_title == ""


def test_parts_of_memory_and_costs_of_what_was_trained_have_their_own_table() -> None:
    made = tables(
        efficiency_record(gradients_mib=7.5, optimizer_state_mib=15.0, adapter_bytes=2**21, merge_seconds=0.25),
        efficiency_record("LoRA", settings={"gradient_accumulation": 4}, decode_seconds=3.0, merged_decode_seconds=2.0),
    )
    assert list(made) == ["figure2", "parts"]
    speeds = {own.title: own.cells["tokens_per_second"].parts[0].value for own in made["figure2"].rows}
    assert speeds == {"RoCoFT-3-Row": pytest.approx(32 * 128 / 0.1), "LoRA": pytest.approx(4 * 32 * 128 / 0.1)}
    found = {
        own.title: {key: part.value for key, cell in own.cells.items() for part in cell.parts if part.value is not None}
        for own in made["parts"].rows
    }
    parts = {"gradients_mib": 7.5, "optimizer_state_mib": 15.0, "saved_adapter_mib": 2.0, "merge_seconds": 0.25}
    assert found == {"RoCoFT-3-Row": parts, "LoRA": {"decode_seconds": 3.0, "merged_decode_seconds": 2.0}}


def test_single_layers_are_not_of_figure_2() -> None:
    assert list(tables(layer_bench())) == ["table3"]


def test_what_does_not_compare_never_shares_a_table_of_figure_2(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{}, {"batch_size": 8}, {"precision": "bf16"}, {"task": "sst2"}, {"model": DEMO}]
    made = tables(*(efficiency_record(settings_hash=str(change), **change) for change in changes))
    assert sorted(made) == ["figure2", "figure2-2", "figure2-3", "figure2-4", "figure2-demo-roberta"]
    assert [len(table.rows) for table in made.values()] == [1] * 5


def test_machines_never_share_a_table_of_figure_2(tmp_path: Path) -> None:
    benches = []
    for name in ("NVIDIA X", "NVIDIA Y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "provenance.json").write_text(json.dumps({"hardware": {"gpus": [name]}}))
        benches.append(stored(efficiency_record(), name, tmp_path / name))
    made = efficiency_tables(Results(Path("results"), efficiency=benches))
    assert [table.conditions["Hardware"] for table in made] == ["1 × NVIDIA X", "1 × NVIDIA Y"]


def test_benches_that_all_failed_are_told() -> None:
    numbers = ("seconds_per_step", "flops_per_step", "saved_bytes_per_step", "peak_memory_kind")
    memory = ("model_memory_mib", "optimization_memory_mib", "peak_memory_mib")
    failed = efficiency_record(status="oom", parameters={}, **dict.fromkeys((*numbers, *memory)))
    made = tables(failed)
    assert list(made) == ["figure2"]
    assert made["figure2"].rows[0].cells["seconds_per_step"].failures == ("oom",)


def test_other_settings_and_failures_show_in_figure_2() -> None:
    failed = {"seconds_per_step": None, "peak_memory_mib": None, "peak_memory_kind": None}
    table = tables(
        efficiency_record(settings={"optimizer": "AdamW"}),
        efficiency_record(settings={"optimizer": "SGD"}, settings_hash="b", status="oom", **failed),
    )["figure2"]
    assert [own.variant for own in table.rows] == ["optimizer=AdamW", "optimizer=SGD"]
    cells = table.rows[1].cells
    assert cells["seconds_per_step"].failures == ("oom",)
    assert cells["model_memory_mib"].failures == ()
