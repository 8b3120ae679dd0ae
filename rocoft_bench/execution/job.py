"""What is said about one run between the processes of a sweep."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rocoft_bench.runs import RunDirectory


@dataclass(frozen=True)
class Job:
    """All that a process on any machine needs to carry out a run.

    config: complete settings. notes: what the record is to say of how they came about. command: what the user typed.
    seen: `record_stamp` of the record that the sweep knew of; another one means that somebody else made it since.
    memory_mib: estimated need. num_processes, config_file: as of `launch.Launch`. track: name of a tracker.
    """

    folder: str
    config: dict[str, Any]
    notes: list[str]
    command: list[str]
    evaluations: list[str]
    seen: int | None = None
    memory_mib: float | None = None
    timeout_seconds: float | None = None
    num_processes: int = 1
    config_file: str | None = None
    track: str | None = None

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        return Job(**json.loads(text))


@dataclass(frozen=True)
class Outcome:
    """How a run ended: a status of `RunRecord`, "busy" (another process is at it), or "elsewhere" (one has done it)."""

    status: str
    error: str | None = None
    hint: str | None = None
    metrics: dict[str, float] | None = None
    seconds: float = 0.0

    @property
    def is_failure(self) -> bool:
        return self.status not in ("ok", "interrupted", "busy", "elsewhere")


def record_stamp(folder: Path) -> int | None:
    """Changes whenever a run's record does; None without one."""
    try:
        return RunDirectory(folder).record.stat().st_mtime_ns
    except OSError:
        return None
