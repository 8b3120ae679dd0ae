"""What the launching process and those that make the run tell each other."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocoft_bench.engine.observer import Observer, replay
from rocoft_bench.runs import LOG_TAIL, write_text

SHUTDOWN_SECONDS = 120
"""Processes that are told to end have this long for a step, a checkpoint and the record."""

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Job:
    """What each process is told.

    exchange: folder where it finds the others and leaves word. parent: process id of the launching one. command: what
    the user typed. The rest is the experiment.
    """

    folder: str
    exchange: str
    parent: int
    command: list[str]
    config: dict[str, Any]
    notes: list[str]
    force: bool


@dataclass(frozen=True)
class Exchange:
    """A folder in which the processes of this machine tell the launching one of progress and failure."""

    folder: Path

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    def tell(self, rank: int, failure: Mapping[str, str | None]) -> None:
        """Why a process could not go on: fields of a record, or `user_error`. The first to tell is the cause."""
        write_text(self.folder / f"failure{rank}.json", json.dumps(failure))

    def first_failure(self) -> tuple[int, dict[str, Any]] | None:
        """The rank and the reason of the process that failed first, of those that could say so."""
        told = sorted(self.folder.glob("failure*.json"), key=lambda file: file.stat().st_mtime_ns)
        if not told:
            return None
        return int(told[0].stem.removeprefix("failure")), json.loads(told[0].read_text(encoding="utf-8"))

    def log_tail(self, local_rank: int) -> list[str]:
        """The last lines that a process printed."""
        files = sorted(self.logs.rglob(f"{local_rank}/stderr.log"))
        return files[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:] if files else []

    @contextmanager
    def followed(self, observer: Observer) -> Iterator[None]:
        """Pass on what the first process tells of its progress."""
        self.events.touch()
        ended = threading.Event()
        thread = threading.Thread(target=self._follow, args=(observer, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _follow(self, observer: Observer, ended: threading.Event) -> None:
        with self.events.open(encoding="utf-8") as stream:
            rest, last = "", False
            while not last:
                last = ended.wait(POLL_SECONDS)
                *lines, rest = (rest + stream.read()).split("\n")
                for line in lines:
                    replay(line, observer)
