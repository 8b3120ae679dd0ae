"""Finding and reading run records."""

from __future__ import annotations

from pathlib import Path

from rocoft_bench.errors import UserError
from rocoft_bench.runs import RunDirectory, RunRecord


def read_records(folder: Path) -> tuple[list[RunRecord], list[str]]:
    """All run records below a folder, in order of path, and a line for each file that is not a valid one.

    Raises:
        UserError: If the folder does not exist or holds no record at all.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    records: list[RunRecord] = []
    problems: list[str] = []
    for file in sorted(folder.rglob("record.json")):
        try:
            records.append(RunDirectory(file.parent).read_record())
        except UserError as error:
            problems.append(str(error))
    if not records and not problems:
        raise UserError(f"{folder}: holds no runs (no record.json); make one with `rocoft train` or `rocoft demo`")
    return records, problems
