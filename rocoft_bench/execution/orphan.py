"""A process that must not outlive the one that started it."""

from __future__ import annotations

import os
import signal
import threading
import time

POLL_SECONDS = 0.5


def end_with_parent(parent: int, grace_seconds: float = 30.0) -> None:
    """Watch the parent process from a thread; when it is gone, however it went, end this process.

    First with SIGTERM, at which a run writes a checkpoint, and after `grace_seconds` at once.

    Args:
        parent: Process id of the parent. If it has died before this call, the end comes now.
    """
    threading.Thread(target=_watch, args=(parent, grace_seconds), daemon=True).start()


def _watch(parent: int, grace_seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os._exit(1)
