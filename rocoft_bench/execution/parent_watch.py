"""A process that must not outlive the one that started it."""

from __future__ import annotations

import os
import signal
import threading
import time

from rocoft_bench.execution.channel import GRACE_SECONDS

POLL_SECONDS = 0.5


def end_with_parent(parent: int) -> None:
    """Watch the parent process from a thread; when it is gone, however it went, end this process.

    First with SIGTERM, at which a run writes a checkpoint, and after `GRACE_SECONDS` at once.

    Args:
        parent: Process id of the parent. If it has died before this call, the end comes now.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
