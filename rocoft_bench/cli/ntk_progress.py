"""Shows a kernel analysis, and stops it between two blocks when asked to."""

from rich.progress import TaskID

from rocoft_bench.cli.progress import Display
from rocoft_bench.engine.interrupt import GracefulStop, Interrupted
from rocoft_bench.ntk.training_kernels import KernelObserver


class KernelDisplay(Display, KernelObserver):
    """Of an analysis; the bar counts blocks."""

    def __init__(self, title: str, stop: GracefulStop) -> None:
        super().__init__(title)
        self.bar: TaskID | None = None
        self.stop = stop

    def started(self, what: str, blocks: int) -> None:
        if self.bar is not None:
            self.bars.remove_task(self.bar)
        self.bar = self.bars.add_task(f"{what}, blocks", total=blocks)

    def advanced(self) -> None:
        if self.bar is not None:
            self.bars.advance(self.bar)
        if self.stop.requested:
            raise Interrupted

    def finished_part(self, what: str) -> None:
        self.console.print(f"  {what}")
