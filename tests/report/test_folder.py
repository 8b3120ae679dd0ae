"""A report as files: what is there when one could not be made to the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.report import all_tables, page, read_results, write_report
from tests.made_up import run_record, write_record


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_report_that_cannot_be_finished_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def disk_is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_record(tmp_path / "runs" / "one", run_record())
    results = read_results(tmp_path / "runs")
    write_report(results, all_tables(results), tmp_path / "report", "first")
    (tmp_path / "report" / "mine.txt").write_text("kept")
    first = contents(tmp_path / "report")

    monkeypatch.setattr(page, "write_page", disk_is_full)
    with pytest.raises(
        UserError, match=r"^--output .*report: cannot be written \(No space left on device\); choose another folder$"
    ):
        write_report(results, all_tables(results), tmp_path / "report", "second")
    assert contents(tmp_path / "report") == first

    monkeypatch.undo()
    write_report(results, all_tables(results), tmp_path / "report", "second")
    assert b"second" in contents(tmp_path / "report")["tables.md"]
    assert (tmp_path / "report" / "mine.txt").read_text() == "kept"
