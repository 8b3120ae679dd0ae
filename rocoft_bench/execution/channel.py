"""The folder in which the processes that have to do with one run leave word for each other."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from rocoft_bench.engine.observer import Observer
from rocoft_bench.runs import LOG_TAIL, Failure

GRACE_SECONDS = 120
"""A run that is told to end has this long for its step, a checkpoint and its record."""

POLL_SECONDS = 0.1


class Request(StrEnum):
    """What may be asked of a run. STOP: to end after its step, with a checkpoint. KILL: to end at once."""

    STOP = "stop"
    KILL = "kill"


NO_REQUEST = "none"
"""As long as a request is, which is written over it and so needs no room on a full disk."""


class Channel(Observer):
    """Events and failures come from the workers of a run, requests from whoever started it. What a worker tells it of
    its progress, `relay_events` tells an observer in another process.

    All of it is in files, and each is opened anew for every look: that is how file systems that machines share show
    what another machine has written. Nobody else writes to them, as libraries do to standard output.
    """

    def __init__(self, folder: Path, poll_seconds: float = POLL_SECONDS) -> None:
        self.folder, self.poll_seconds = folder, poll_seconds
        self._events = folder / "events.jsonl"
        self._failures = folder / "failures.jsonl"
        self._request = folder / "request"
        self.logs = folder / "logs"  # of what each of several workers prints

    @classmethod
    def made_in(cls, place: Path, poll_seconds: float = POLL_SECONDS) -> Channel:
        """A new one. Raises: OSError."""
        channel = cls(Path(tempfile.mkdtemp(prefix="run-", dir=place)), poll_seconds)
        channel._events.touch()
        channel._request.write_text(NO_REQUEST, encoding="utf-8")
        return channel

    def ask(self, request: Request) -> None:
        """Raises: OSError."""
        with self._request.open("r+", encoding="utf-8") as stream:
            stream.write(request)

    @property
    def request(self) -> Request | None:
        """What was asked last."""
        with suppress(OSError, ValueError):  # the folder is gone, or nothing was asked
            return Request(self._request.read_text(encoding="utf-8"))
        return None

    def begin(self) -> None:
        """Say that the job has left the queue of a cluster."""
        with self._events.open("a") as stream:
            stream.write("\n")

    @property
    def has_begun(self) -> bool:
        with suppress(OSError), self._events.open("rb") as stream:
            return os.fstat(stream.fileno()).st_size > 0
        return False

    def report_failure(self, failure: Failure, rank: int | None = None) -> None:
        """Say why a run failed, or one of several workers of it. The first of these to say so is the cause."""
        with suppress(OSError), self._failures.open("a", encoding="utf-8") as stream:  # the log says it too
            stream.write(json.dumps([rank, *failure]) + "\n")

    def failures(self) -> list[tuple[int | None, Failure]]:
        """All that were reported, by the rank of the worker, in their order."""
        lines = self._failures.read_bytes().splitlines() if self._failures.is_file() else []
        return [(rank, Failure(*fields)) for rank, *fields in _readable(lines)]

    def log_tail(self, local_rank: int) -> list[str]:
        """The last lines that one of several workers of this machine printed."""
        files = sorted(self.logs.rglob(f"{local_rank}/stderr.log"))
        return files[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:] if files else []

    def _pass_on(self, event: str, *values: Any) -> None:
        with suppress(OSError), self._events.open("a", encoding="utf-8") as stream:  # progress is worth no failed run
            stream.write(json.dumps([event, *values]) + "\n")

    @contextmanager
    def relay_events(self, observer: Observer) -> Iterator[None]:
        """Tell an observer, from a thread, what the run tells of its progress."""
        ended = threading.Event()
        thread = threading.Thread(target=self._relay, args=(observer, ended), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _relay(self, observer: Observer, ended: threading.Event) -> None:
        position, last = 0, False
        while not last:
            last = ended.wait(self.poll_seconds)
            with suppress(OSError), self._events.open("rb") as stream:
                stream.seek(position)
                *lines, rest = stream.read().split(b"\n")
                position = stream.tell() - len(rest)
                for event, *values in _readable(lines):
                    getattr(observer, event)(*values)


def _readable(lines: Iterable[bytes]) -> Iterator[list[Any]]:
    """What the lines hold. On a full disk, one may be there in part."""
    for line in lines:
        with suppress(ValueError):
            yield json.loads(line)
