"""Shows what the engine does: a bar with the time left on a terminal, one line per epoch everywhere."""

from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def note(self, message: str) -> None:
        self.console.print(f"  note: {message}", style="yellow")


class ProgressDisplay(Display, Observer):
    """Of a run or an evaluation."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self.loss = ""
        self.training = self.bars.add_task("training", visible=False)
        self.evaluation = self.bars.add_task("evaluation", visible=False)

    def training_started(self, total_steps: int, done_steps: int) -> None:
        if done_steps:
            self.note(f"resuming after step {done_steps} of {total_steps}")
        self.bars.reset(self.training, total=total_steps, completed=done_steps, visible=True)

    def step_done(self, step: int) -> None:
        self.bars.update(self.training, completed=step)

    def logged(self, entry: dict[str, Any]) -> None:
        if "metrics" in entry:
            self.bars.update(self.evaluation, visible=False)
            metrics = "  ".join(f"{name} {100 * value:.2f}" for name, value in entry["metrics"].items())
            self.console.print(f"  epoch {entry['epoch']}  step {entry['step']}  {self.loss}{metrics}")
        else:
            self.loss = f"loss {entry['loss']:.4f}  "
            self.bars.update(self.training, description=f"training, {self.loss.strip()}")

    def evaluation_started(self, total_batches: int) -> None:
        self.bars.reset(self.evaluation, total=total_batches, visible=True)

    def evaluation_batch_done(self) -> None:
        self.bars.advance(self.evaluation)
