"""The loop of a sweep: starts runs as there is room, takes in how they end, and stops when asked to."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, wait

from rocoft_bench.engine.interrupt import GracefulStop
from rocoft_bench.engine.observer import Observer
from rocoft_bench.execution.channel import Request
from rocoft_bench.execution.executor import Executor
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.sweep.plan import PlannedRun, State, state_of

POLL_SECONDS = 0.2
BUSY_SECONDS = 2.0
"""How often a run that another process is at is looked at again."""


class SweepView:
    """How the runner tells the outside what happens; by default nobody listens."""

    def started(self, run: PlannedRun) -> Observer:
        """A run begins; what is returned is told of its progress."""
        return Observer()

    def finished(self, run: PlannedRun, outcome: Outcome) -> None:
        """A run has ended, or turned out to be done by another process."""

    def waiting_for(self, runs: list[PlannedRun]) -> None:
        """Nothing is left but what other processes are at."""

    def stopping(self) -> None:
        """The user wants to stop; running runs are ending."""


class Runner:
    """Makes the runs of a sweep.

    make_job: the job of a run, made when its turn has come. max_runs: start no more than so many.
    stop_on_error: after a failure start no further run.
    """

    def __init__(
        self,
        runs: Iterable[PlannedRun],
        executor: Executor,
        view: SweepView,
        make_job: Callable[[PlannedRun], Job],
        max_runs: int | None = None,
        stop_on_error: bool = False,
    ) -> None:
        self.waiting = deque(runs)
        self.executor, self.view, self.make_job = executor, view, make_job
        self.left = len(self.waiting) if max_runs is None else max_runs
        self.stop_on_error = stop_on_error
        self.running: dict[Future[Outcome], PlannedRun] = {}
        self.busy: list[PlannedRun] = []
        self.outcomes: list[tuple[PlannedRun, Outcome]] = []
        self.stopped = self.failed = False
        self._next_look = 0.0

    def run(self) -> list[tuple[PlannedRun, Outcome]]:
        """Every run that was started or was done elsewhere, with its outcome.

        The first Ctrl-C, SIGTERM or SIGHUP ends running runs after their step, a second Ctrl-C at once.
        """
        try:
            with GracefulStop() as stop:
                while self._goes_on(stop.requested):
                    self._start_runs()
                    self._take_in()
                    self._look_at_busy()
        except KeyboardInterrupt:
            self.stopped = True
            self.executor.ask(Request.KILL)
            while self.running:
                self._take_in()
        finally:
            self.executor.close()
        return self.outcomes

    def _goes_on(self, stop_requested: bool) -> bool:
        if stop_requested and not self.stopped:
            self.stopped = True
            self.executor.ask(Request.STOP)
            self.view.stopping()
        if self.stopped or self.left <= 0 or (self.failed and self.stop_on_error):
            self.waiting.clear()
            self.busy.clear()
        return bool(self.running or self.waiting or self.busy)

    def _start_runs(self) -> None:
        while self.waiting and self.left > 0 and len(self.running) < self.executor.slots:
            run = self.waiting.popleft()
            self.left -= 1
            self.running[self.executor.submit(self.make_job(run), self.view.started(run))] = run

    def _take_in(self) -> None:
        if not self.running:
            time.sleep(POLL_SECONDS)
        done, _ = wait(self.running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            run, outcome = self.running.pop(future), future.result()
            if outcome.status == "busy":
                self.busy.append(run)
            self._finish(run, outcome)

    def _finish(self, run: PlannedRun, outcome: Outcome) -> None:
        if outcome.status in ("busy", "elsewhere"):
            self.left += 1
        if outcome.status != "busy":
            self.outcomes.append((run, outcome))
        self.view.finished(run, outcome)
        self.failed = self.failed or outcome.is_failure

    def _look_at_busy(self) -> None:
        """A run that another process had may be finished by now, or free again because that process died."""
        if not self.busy or time.monotonic() < self._next_look:
            return
        if not self.running and not self.waiting:
            self.view.waiting_for(self.busy)
        self._next_look = time.monotonic() + BUSY_SECONDS
        for run in tuple(self.busy):
            state, _ = state_of(run.folder, run)
            if state is State.BUSY:
                continue
            self.busy.remove(run)
            if state in (State.DONE, State.FAILED):
                self._finish(run, Outcome("elsewhere"))
            else:
                self.waiting.append(run)
