"""A lock file held by a process; it is free when that has ended.

Whoever has the lock may remove the file: a lock counts only while its file is still in its place.
"""

import fcntl
import os
import stat
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from rocoft_bench.errors import UserError, reason

_ATTEMPTS, _PAUSE_SECONDS = 4, 0.02
"""Somebody who looks whether a lock is held is in the way for a moment."""


def acquire(path: Path) -> int | None:
    """Lock a file, which is made if need be; the descriptor to close in the end, or None if another process has it.

    Raises:
        UserError: If the file system has no locks, or something else than a file is in the place.
        OSError: If the file cannot be opened.
    """
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE_SECONDS if attempt else 0)
        descriptor = _open(path, os.O_RDWR | os.O_CREAT)
        with ExitStack() as unless_acquired:
            unless_acquired.callback(os.close, descriptor)
            if try_lock(path, descriptor) and _is_in_place(path, descriptor):
                unless_acquired.pop_all()
                return descriptor
    return None


def is_held(path: Path) -> bool:
    """Whether another process holds the lock at the moment. Raises: UserError as `acquire`."""
    try:
        descriptor = _open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    try:
        return not try_lock(path, descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError:
        if path.is_symlink():
            raise UserError(f"{path}: is a link; remove it") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"{path}: is not a regular file; remove it")
    return descriptor


def try_lock(path: Path, descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Whether a lock of an open file could be had. Raises: UserError if the file system has none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(
            f"{path}: the file system has no file locks ({reason(error)}), and without them two processes could work "
            "on one run; choose a folder on another one, such as a local disk, or mount it with locks"
        ) from None


def _is_in_place(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one at a path, and not one that its last holder has removed."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    return False
