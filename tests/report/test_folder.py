"""A report as files: what is there when one could not be made to the end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.report import all_tables, page, read_results, write_report
from tests.made_up import run_record, write_record, write_run


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


def report_of(runs: Path, folder: Path) -> None:
    results = read_results(runs)
    write_report(results, all_tables(results), folder, "title")


def test_figures_that_a_report_no_longer_has_are_gone(tmp_path: Path) -> None:
    for label, losses in (("LoRA", [1.0, 0.5]), ("FT", [1.0, 0.5])):
        write_run(tmp_path / "runs" / label, run_record(label=label), losses=losses)
    report_of(tmp_path / "runs", tmp_path / "report")
    figures = tmp_path / "report" / "figures"
    assert {file.suffix for file in figures.iterdir()} == {".png", ".svg"}
    (figures / "mine.svg").write_text("<svg/>")
    (figures / "mine.png").write_text("")
    for run in ("LoRA", "FT"):
        (tmp_path / "runs" / run / "history.jsonl").unlink()
    report_of(tmp_path / "runs", tmp_path / "report")
    report_of(tmp_path / "runs", tmp_path / "fresh")
    assert names(figures) == names(tmp_path / "fresh" / "figures") | {"mine.svg", "mine.png"}


def names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()} if folder.is_dir() else set()


@pytest.mark.parametrize("name", ["index.html", "cells.csv", "figures"])
def test_nothing_is_replaced_where_not_all_can_be(tmp_path: Path, name: str) -> None:
    write_run(tmp_path / "runs" / "one", run_record(), losses=[1.0, 0.5])
    report = tmp_path / "report"
    report_of(tmp_path / "runs", report)
    if name == "figures":
        (report / name).rename(tmp_path / "elsewhere")
        (report / name).symlink_to(tmp_path / "elsewhere")
    else:
        (report / name).unlink()
        (report / name).mkdir()
    before = contents(tmp_path)
    write_run(tmp_path / "runs" / "two", run_record(label="LoRA"))
    added = {key: value for key, value in contents(tmp_path).items() if key.startswith("runs")}
    with pytest.raises(UserError, match=f"{name} there is a (folder|link)"):
        report_of(tmp_path / "runs", report)
    assert contents(tmp_path) == before | added


def test_nothing_is_made_where_not_all_can_be(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "one", run_record(), losses=[1.0, 0.5])
    (tmp_path / "report" / "index.html").mkdir(parents=True)
    with pytest.raises(UserError, match=r"index\.html there is a folder"):
        report_of(tmp_path / "runs", tmp_path / "report")
    assert names(tmp_path / "report") == {"index.html"}


def test_what_a_killed_report_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    write_record(tmp_path / "runs" / "one", run_record())
    report = tmp_path / "report"
    child = os.fork()
    if child == 0:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(page, "write_page", lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
            try:
                report_of(tmp_path / "runs", report)
            finally:
                os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len(names(report)) == 1
    report_of(tmp_path / "runs", report)
    report_of(tmp_path / "runs", tmp_path / "fresh")
    assert names(report) == names(tmp_path / "fresh")
