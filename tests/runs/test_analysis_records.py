"""The records of kernel analyses and efficiency benches: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.runs import EfficiencyRecord, KernelRecord, read_record, write_json
from tests.made_up import efficiency_record, kernel_record

Record = KernelRecord | EfficiencyRecord

RECORDS = [
    kernel_record(labels=["terrible", "great"], settings={"lora_rank": 8}),
    efficiency_record(task="sst2", settings={"optimizer": "AdamW"}),
]


@pytest.fixture(params=RECORDS, ids=lambda record: type(record).__name__)
def record(request: pytest.FixtureRequest) -> Record:
    return request.param


def changed(folder: Path, record: Record, **changes: object) -> Path:
    file = folder / "file.json"
    file.write_text(json.dumps({**record.model_dump(mode="json"), **changes}), encoding="utf-8")
    return file


def test_what_is_written_is_read(tmp_path: Path, record: Record) -> None:
    write_json(tmp_path / "file.json", record.model_dump(mode="json"))
    assert read_record(tmp_path / "file.json", type(record)) == record


def test_unknown_keys_are_refused(tmp_path: Path, record: Record) -> None:
    with pytest.raises(UserError, match=r"file\.json: not a valid record \(surprise: extra inputs are not permitted"):
        read_record(changed(tmp_path, record, surprise=1), type(record))


def test_unknown_keys_of_a_kernel_are_refused(tmp_path: Path) -> None:
    file = changed(tmp_path, RECORDS[0], kernels={"K_row": {"loss": 1}})
    with pytest.raises(UserError, match=r"kernels\.K_row\.loss"):
        read_record(file, KernelRecord)


def test_unknown_kernels_and_norms_are_refused(tmp_path: Path) -> None:
    for kernels in ({"K_diagonal": {}}, {"K_row": {"relative_difference": {"3": 0.1}}}):
        with pytest.raises(UserError, match="not a valid record"):
            read_record(changed(tmp_path, RECORDS[0], kernels=kernels), KernelRecord)


def test_a_future_version_is_named(tmp_path: Path, record: Record) -> None:
    file = changed(tmp_path, record, schema_version=2, later="field")
    with pytest.raises(UserError, match="of schema version 2, which this version of rocoft-bench does not read"):
        read_record(file, type(record))


def test_an_epoch_is_known_where_its_steps_are() -> None:
    assert efficiency_record(seconds_per_step=0.1, steps_per_epoch=2105).seconds_per_epoch == pytest.approx(210.5)
    assert efficiency_record(steps_per_epoch=None).seconds_per_epoch is None
    assert efficiency_record(seconds_per_step=None).seconds_per_epoch is None
