from __future__ import annotations

import pytest

from rocoft_bench.report import Table
from rocoft_bench.report.tables.compare import side_by_side
from rocoft_bench.report.tables.runs import run_tables
from rocoft_bench.runs import RunRecord
from tests.made_up import a_run, long_table_of, run_record

OTHER_MODEL = {"name": "some/minilm", "paper_name": None}


def tables(*records: RunRecord) -> list[Table]:
    return run_tables(long_table_of([a_run(record, str(index)) for index, record in enumerate(records)]))


def test_cells_of_two_folders_stand_side_by_side() -> None:
    ours = tables(run_record(metrics={"accuracy": 0.8}), run_record(label="LoRA", metrics={"accuracy": 0.7}))
    other = tables(*(run_record(seed=seed, metrics={"accuracy": 0.5 + seed / 10}) for seed in (0, 1)))
    (table,) = side_by_side(ours, other, "other")
    rows = {row.method: row for row in table.rows}
    (part,) = rows["RoCoFT-3-Row"].cell(table.column("rte")).parts
    assert (part.value, part.reference) == (pytest.approx(80), pytest.approx(55))
    assert part.difference == pytest.approx(25)
    assert part.reference_deviation == pytest.approx(50**0.5)
    assert rows["RoCoFT-3-Row"].reference_title == "other"
    (alone,) = rows["LoRA"].cell(table.column("rte")).parts
    assert (alone.value, alone.reference, alone.difference) == (pytest.approx(70), None, None)
    assert "Paper" not in table.conditions
    assert table.conditions["Seeds"] == "0; other: 0, 1"


def test_what_only_one_folder_has_is_there() -> None:
    other = tables(run_record(keep="best"), run_record(task="cola", label="FT", status="oom", metrics=None))
    merged = side_by_side(tables(run_record()), other, "other")
    assert {table.key for table in merged} == {table.key for table in [*tables(run_record()), *other]}
    theirs = next(table for table in merged if table.key.endswith("best-epoch"))
    (row,) = [row for row in theirs.rows if row.method == "RoCoFT-3-Row"]
    (part,) = row.cell(theirs.column("rte")).parts
    assert (part.value, part.reference) == (None, pytest.approx(75))
    assert theirs.conditions["Checkpoint"].startswith("best epoch")
    assert theirs.notes[0] == "all of this was run in other alone"
    (failed,) = [row for table in merged for row in table.rows if row.method == "FT" and table.key == "table1"]
    assert failed.cells["cola"].reference_text == "[oom]"


def test_the_heading_names_all_numbers_of_either_folder() -> None:
    """Two averages where two tasks with a second metric were run, one elsewhere."""
    two = tables(*(run_record(task=task, label="mine", model=OTHER_MODEL) for task in ("mrpc", "stsb")))
    one = tables(*(run_record(task=task, label="mine", model=OTHER_MODEL) for task in ("mrpc", "rte")))
    for ours, other in ((two, one), (one, two)):
        (table,) = side_by_side(ours, other, "other")
        assert table.column("average").parts == ("first", "second")
        assert [column.key for column in table.columns].count("average") == 1
