"""How the engine tells the outside what it does; the command line shows it, tests and libraries ignore it."""

from typing import Any


class Observer:
    """Does nothing; subclass it to show progress."""

    def training_started(self, total_steps: int, done_steps: int) -> None:
        """Training begins, or resumes after `done_steps`."""
        self._pass_on("training_started", total_steps, done_steps)

    def step_done(self, step: int) -> None:
        """An optimizer step is complete."""
        self._pass_on("step_done", step)

    def logged(self, entry: dict[str, Any]) -> None:
        """A line of the history: mean loss since the last one, or an evaluation."""
        self._pass_on("logged", entry)

    def evaluation_started(self, total_batches: int) -> None:
        """An evaluation begins."""
        self._pass_on("evaluation_started", total_batches)

    def evaluation_batch_done(self) -> None:
        """A batch of the evaluation is complete."""
        self._pass_on("evaluation_batch_done")

    def note(self, message: str) -> None:
        """Something that the user should know; it is in the record too."""
        self._pass_on("note", message)

    def _pass_on(self, event: str, *values: Any) -> None:
        """Where every event goes whose method is not overridden. values: what that method is called with."""


class Several(Observer):
    """Tells each of several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def _pass_on(self, event: str, *values: Any) -> None:
        for observer in self._observers:
            getattr(observer, event)(*values)
