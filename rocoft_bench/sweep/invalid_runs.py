"""Records of runs that could not write their own."""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError, reason
from rocoft_bench.runs import RunDirectory, RunRecord, digest, write_json
from rocoft_bench.sweep.plan import InvalidRun


def record_invalid(runs: Iterable[InvalidRun], output: Path, sweep: Path) -> None:
    """Leave a failed record for each run whose settings are wrong, in a folder by what the settings say, and take away
    those that the sweep left there before it was corrected.

    Raises: UserError if one cannot be written.
    """
    source = f"of {sweep.absolute()}"
    records = {output / _folder_name(run.values): _invalid_record(run, source) for run in runs}
    try:
        for folder in _left_before(output, source) - records.keys():
            (folder / "record.json").unlink()
            with suppress(OSError):  # somebody's files are there too
                folder.rmdir()
        for folder, record in records.items():
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "record.json", record.model_dump())
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({reason(error)})") from None


def _left_before(output: Path, source: str) -> set[Path]:
    """Folders with a record that names the sweep as its source. What has a config is a run that began."""
    found = set()
    for file in output.glob("*/*/record.json"):
        with suppress(UserError):  # `rocoft report` names it
            directory = RunDirectory(file.parent)
            if not directory.config.exists() and source in directory.read_record().notes:
                found.add(file.parent)
    return found


def _invalid_record(run: InvalidRun, source: str) -> RunRecord:
    task = {"family": _text(run.values, "task", "family"), "name": _text(run.values, "task", "name")}
    seed = run.values.get("seed", 0)
    return RunRecord(
        status="failed",
        error=run.error.splitlines()[0],
        hint=f"wrong setting ({run.place}): correct the sweep file",
        config_hash=digest(run.values),
        settings_hash=digest({**run.values, "seed": 0}),
        label=_text(run.values, "method", "name"),
        task={**task, "metric_names": [], "eval_split": ""},
        protocol="",
        method={"name": _text(run.values, "method", "name")},
        model={"name": _text(run.values, "model", "name")},
        seed=seed if isinstance(seed, int) else 0,
        keep="last",
        notes=[source],
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _folder_name(values: dict[str, Any]) -> str:
    task = f"{_text(values, 'task', 'family')}-{_text(values, 'task', 'name')}"
    model = _text(values, "model", "name").rpartition("/")[2]
    run = f"{model}_{_text(values, 'method', 'name')}_seed{values.get('seed', 0)}_{digest(values)}"
    return "/".join(re.sub(r"[^\w.-]+", "-", part) for part in (task, run))


def _text(values: dict[str, Any], section: str, key: str) -> str:
    """A setting as written, which may be anything."""
    content = values.get(section)
    return str(content.get(key, "default")) if isinstance(content, dict) else str(content or "default")
