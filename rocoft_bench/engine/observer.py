"""How the engine tells the outside what it does; the command line shows it, tests and libraries ignore it."""

from __future__ import annotations

import json
from typing import Any, TextIO


class Observer:
    """Does nothing; subclass it to show progress."""

    def training_started(self, total_steps: int, done_steps: int) -> None:
        """Training begins, or resumes after `done_steps`."""

    def step_done(self, step: int) -> None:
        """An optimizer step is complete."""

    def logged(self, entry: dict[str, Any]) -> None:
        """A line of the history: mean loss since the last one, or an evaluation."""

    def evaluation_started(self, total_batches: int) -> None:
        """An evaluation begins."""

    def evaluation_batch_done(self) -> None:
        """A batch of the evaluation is complete."""

    def note(self, message: str) -> None:
        """Something that the user should know; it is in the record too."""


EVENTS = frozenset(name for name in vars(Observer) if not name.startswith("_"))


class Sender(Observer):
    """Writes every event as a JSON line, for `replay` in another process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattribute__(self, name: str) -> Any:
        if name not in EVENTS:
            return super().__getattribute__(name)
        return lambda *arguments: self._send(name, arguments)

    def _send(self, event: str, arguments: tuple[Any, ...]) -> None:
        print(json.dumps([event, *arguments]), file=self._stream, flush=True)


def replay(line: str, observer: Observer) -> None:
    """Call the observer as the line of a `Sender` says; other text is ignored."""
    try:
        event, *arguments = json.loads(line)
    except (ValueError, TypeError):
        return
    if event in EVENTS:
        getattr(observer, event)(*arguments)
