"""How the engine tells the outside what it does; the command line shows it, tests and libraries ignore it."""

from __future__ import annotations

from typing import Any


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
