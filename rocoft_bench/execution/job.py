"""A run for another process: what it is told, and how the run ended."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rocoft_bench.config import Settings
from rocoft_bench.execution.launch_options import Launch
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.plugins import load_files, named_files
from rocoft_bench.runs import RunDirectory


@dataclass(frozen=True)
class Job:
    """All that a process on any machine needs to make a run.

    config: complete settings. notes: what the record is to say of how they came about. command: what the user typed.
    evaluations: further tasks for the run's model. record_mtime: of the record that the sweep knew of; another one
    means that somebody else made it since. memory_mib, seconds: what it is expected to take. track: name of a tracker.
    force: whether it replaces a run. plugins: files to load, with the sha256 of their content.
    """

    folder: str
    config: dict[str, Any]
    notes: list[str]
    command: list[str]
    evaluations: list[str] = field(default_factory=list)
    record_mtime: int | None = None
    memory_mib: float | None = None
    seconds: float | None = None
    timeout_seconds: float | None = None
    launch: Launch = field(default_factory=Launch)
    track: str | None = None
    force: bool = False
    plugins: dict[str, str] = field(default_factory=named_files)

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(Path(self.folder))

    @property
    def experiment(self) -> Experiment:
        """Raises: UserError if a plug-in cannot be loaded here."""
        load_files(self.plugins)
        return replace(resolve(Settings(self.config)), notes=tuple(self.notes))

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Job:
        fields = json.loads(text)
        return Job(**{**fields, "launch": Launch(**fields["launch"])})


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


def record_mtime(folder: Path) -> int | None:
    """Changes whenever a run's record does; None without one."""
    try:
        return RunDirectory(folder).record.stat().st_mtime_ns
    except OSError:
        return None
