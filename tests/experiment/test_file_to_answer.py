"""A file to answer: what is refused before a model is loaded, and rows that JSON has no form for."""

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench import tasks
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.predict import FileToAnswer, open_file_to_answer


def opened(folder: Path, output: str = "out.csv", **row: Any) -> FileToAnswer:
    file = folder / "file.jsonl"
    file.write_text(json.dumps({"sentence": "a cat", **row}))
    return open_file_to_answer(tasks.get("glue", "cola"), file, folder / output)


@pytest.mark.parametrize("row", [{"other": "\ud800"}, {"\ud800": 1}, {"other": [{"x": "\ud800"}]}])
def test_what_no_file_can_hold_is_named_with_its_line(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"file\.jsonl, line 1: holds half of a surrogate pair"):
        opened(tmp_path, **row)


def test_rows_are_what_json_can_hold(tmp_path: Path) -> None:
    import pandas as pd

    cells = {"object": {"bytes": b"x", "day": date(2026, 1, 2)}, "sentence": "a cat"}
    pd.DataFrame([cells]).to_parquet(tmp_path / "file.parquet")
    (row,) = open_file_to_answer(tasks.get("glue", "cola"), tmp_path / "file.parquet", tmp_path / "out.csv").rows
    assert row == {"object": {"bytes": "b'x'", "day": "2026-01-02"}, "sentence": "a cat"}
    assert opened(tmp_path, other=[float("nan"), 1.5]).rows[0]["other"] == [None, 1.5]


def test_the_file_itself_is_not_replaced_nor_is_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is the file that is read; choose another"):
        opened(tmp_path, output="file.jsonl")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UserError, match=r"pipe\.csv: is a pipe, not a file"):
        opened(tmp_path, output="pipe.csv")
