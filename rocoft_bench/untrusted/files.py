"""Regular files only: a pipe would hang its reader, a device may never end, a folder is a mistake."""

import codecs
import os
import stat
from pathlib import Path
from typing import BinaryIO

from rocoft_bench.errors import UserError, reason

TEXT_LIMIT = 64 * 2**20
"""Bytes; no file of settings, facts or results is nearly as large."""

KINDS = {"d": "a folder", "p": "a pipe", "s": "a socket", "c": "a device", "b": "a device", "l": "a link"}
"""By the first letter of `stat.filemode`."""


def require_file(path: Path, follow_links: bool = True) -> int:
    """The size in bytes of a file that another library is to read.

    Raises: UserError if it is missing or no regular file; without follow_links, neither is a link to one.
    """
    try:
        found = path.stat(follow_symlinks=follow_links)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    return _regular(path, found)


def open_file(path: Path, follow_links: bool = True) -> BinaryIO:
    """A regular file, opened for reading; never waits for another process.

    Raises: UserError as `require_file`, or if it may not be read.
    """
    require_file(path, follow_links)  # opening a device can have effects of its own
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW))
    except OSError as error:
        raise _unreadable(path, error) from None
    stream = os.fdopen(descriptor, "rb")
    try:
        _regular(path, os.fstat(descriptor))  # what is opened may no longer be what was looked at
    except UserError:
        stream.close()
        raise
    return stream


def read_bytes(path: Path, limit: int | None = TEXT_LIMIT) -> bytes:
    """The contents of a regular file. limit: the most bytes that are read; None for no limit.

    Raises: UserError as `open_file`, or if the file is larger.
    """
    with open_file(path) as stream:
        try:
            content = stream.read(-1 if limit is None else limit + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
    if limit is not None and len(content) > limit:
        raise UserError(f"{path}: is larger than {limit / 2**20:g} MiB, the most that is read of such a file")
    return content


def read_text(path: Path, limit: int | None = TEXT_LIMIT) -> str:
    """The file as UTF-8 text; a byte order mark at its start is dropped.

    Raises: UserError as `read_bytes` and `decoded`.
    """
    return decoded(read_bytes(path, limit), path)


def decoded(content: bytes, path: Path) -> str:
    """What a file holds as UTF-8 text; a byte order mark at its start is dropped.

    Raises:
        UserError: With the line that is not UTF-8.
    """
    raw = content.removeprefix(codecs.BOM_UTF8)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not UTF-8; save the file in that encoding"
        ) from None


def _regular(path: Path, found: os.stat_result) -> int:
    if stat.S_ISREG(found.st_mode):
        return found.st_size
    kind = KINDS.get(stat.filemode(found.st_mode)[0], "something else")
    raise UserError(f"{path}: is {kind}, not a file")


def _unreadable(path: Path, error: Exception) -> UserError:
    why = "no such file" if isinstance(error, FileNotFoundError) else reason(error)
    return UserError(f"{path}: cannot be read ({why})")
