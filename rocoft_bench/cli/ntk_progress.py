"""Shows a kernel analysis, and stops it between two blocks when asked to."""

from rocoft_bench.cli.progress import Display
from rocoft_bench.engine.interrupt import GracefulStop, Interrupted
from rocoft_bench.ntk.training_kernels import KernelObserver


class KernelDisplay(Display, KernelObserver):
    """Of an analysis; the bar counts blocks."""

    def __init__(self, title: str, stop: GracefulStop) -> None:
        super().__init__(title)
        self.bar = self.bars.add_task("", visible=False)
        self.stop = stop

    def started(self, what: str, blocks: int) -> None:
        self.bars.reset(self.bar, total=blocks, visible=True, description=f"{what}, blocks")

    def advanced(self) -> None:
        self.bars.advance(self.bar)
        if self.stop.requested:
            raise Interrupted

    def finished_part(self, what: str) -> None:
        self.console.print(f"  {what}")
