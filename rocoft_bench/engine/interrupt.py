"""Ctrl-C, SIGTERM and SIGHUP end a run between two steps, so that the step in flight is the most that is lost."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupted(Exception):  # noqa: N818 - the run did nothing wrong
    """The user or the machine asked the run to stop; a checkpoint has been written."""


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class GracefulStop:
    """While active, the first SIGINT, SIGTERM or SIGHUP only sets `requested`; a second one acts at once as usual.

    But for SIGHUP: system and shell each send one when a terminal is closed.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> GracefulStop:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                    self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore(*STOPPING)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore(signal.SIGINT, signal.SIGTERM)

    def _restore(self, *numbers: int) -> None:
        for number in numbers:
            if number in self._previous:
                signal.signal(number, self._previous.pop(number))  # type: ignore[arg-type]
