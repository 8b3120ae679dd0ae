"""A lock file held by a process and the children that inherit it; it is free when the last of them has ended."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

_inherited: Final[dict[Path, int]] = {}


def acquire(path: Path) -> int | None:
    """Lock a file, which is made if need be; the descriptor to close in the end, or None if another process has it.

    A lock that `inherit` announced is there already.
    """
    inherited = _inherited.get(path.absolute())
    if inherited is not None:
        return os.dup(inherited)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def inherit(path: Path, descriptor: int) -> None:
    """Announce a lock that the parent of this process took and passed on as an open file descriptor."""
    os.set_inheritable(descriptor, False)
    _inherited[path.absolute()] = descriptor


def is_inherited(path: Path) -> bool:
    """Whether the parent of this process holds the lock too, and so decides what becomes of the file."""
    return path.absolute() in _inherited


def is_held(path: Path) -> bool:
    """Whether any process holds the lock at the moment."""
    if not path.exists():
        return False
    descriptor = acquire(path)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
