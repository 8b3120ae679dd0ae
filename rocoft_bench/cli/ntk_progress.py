"""Shows a kernel analysis: a bar with the time left, and stops it between two blocks when asked to."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rocoft_bench.engine.interrupt import GracefulStop, Interrupted
from rocoft_bench.ntk.observer import Observer


class KernelDisplay(Observer):
    """A context manager; leave it to take the bar away."""

    def __init__(self, title: str) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("blocks, elapsed"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.title = title
        self.bar: TaskID | None = None
        self.stop = GracefulStop()

    def __enter__(self) -> KernelDisplay:
        self.console.print(self.title)
        self.stop.__enter__()
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()
        self.stop.__exit__(kind, error, trace)

    def note(self, message: str) -> None:
        self.console.print(f"  {message}")

    def started(self, what: str, blocks: int) -> None:
        if self.bar is not None:
            self.bars.remove_task(self.bar)
        self.bar = self.bars.add_task(what, total=blocks)

    def advanced(self) -> None:
        if self.bar is not None:
            self.bars.advance(self.bar)
        if self.stop.requested:
            raise Interrupted

    def finished_part(self, what: str) -> None:
        self.console.print(f"  {what}")
