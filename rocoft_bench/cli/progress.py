"""Shows what the engine does: a bar with the time left on a terminal, one line per epoch everywhere."""

from types import TracebackType
from typing import Any, Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rocoft_bench.cli.console import UNWRAPPED, TerminalConsole
from rocoft_bench.engine.observer import Observer


class Display:
    """A title and bars with the time left. A context manager; leave it to take the bars away."""

    def __init__(self, title: str) -> None:
        self.console = TerminalConsole(stderr=True)
        if not self.console.is_terminal:
            self.console.width = UNWRAPPED
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.title = title

    def __enter__(self) -> Self:
        self.console.print(self.title)
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def note(self, message: str) -> None:
        self.console.print(f"  note: {message}", style="yellow")


class ProgressDisplay(Display, Observer):
    """Of a run or an evaluation."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self.loss = ""
        self.training: TaskID | None = None
        self.evaluation: TaskID | None = None

    def training_started(self, total_steps: int, done_steps: int) -> None:
        if done_steps:
            self.note(f"resuming after step {done_steps} of {total_steps}")
        self.training = self.bars.add_task("training", total=total_steps, completed=done_steps)

    def step_done(self, step: int) -> None:
        if self.training is not None:
            self.bars.update(self.training, completed=step)

    def logged(self, entry: dict[str, Any]) -> None:
        if "metrics" in entry:
            self._drop_evaluation()
            metrics = "  ".join(f"{name} {100 * value:.2f}" for name, value in entry["metrics"].items())
            self.console.print(f"  epoch {entry['epoch']}  step {entry['step']}  {self.loss}{metrics}")
        else:
            self.loss = f"loss {entry['loss']:.4f}  "
            if self.training is not None:
                self.bars.update(self.training, description=f"training, {self.loss.strip()}")

    def evaluation_started(self, total_batches: int) -> None:
        self._drop_evaluation()
        self.evaluation = self.bars.add_task("evaluation", total=total_batches)

    def evaluation_batch_done(self) -> None:
        if self.evaluation is not None:
            self.bars.advance(self.evaluation)

    def _drop_evaluation(self) -> None:
        if self.evaluation is not None:
            self.bars.remove_task(self.evaluation)
            self.evaluation = None
