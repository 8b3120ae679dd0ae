"""Writing files and folders so that a crash, a full disk or a power cut leaves the old one or the new one, never half.

Each is made in a folder beside its place that nobody else can enter and whose name cannot be guessed, is brought to the
disk, and is then put in place in one step. So nothing is ever written through a link that somebody left there.
"""

import errno
import fcntl
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_ASIDE = re.compile(r"\.(?P<begins>.*)\.\w{8}\.partial", re.DOTALL)
"""Name of the folder in which something is made whose own name `begins` so."""

_LONGEST_BEGINNING = 40
"""Of a name, so that what is made aside has no name that is too long for the file system."""


@contextmanager
def atomic_replacement(path: Path) -> Iterator[Path]:
    """Where to make a file or a folder that takes the place of `path` in the end, with the access that the umask gives.

    After an exception all is as it was. What processes that died have left of the same is removed.

    Raises: OSError if it cannot be written.
    """
    path = path.absolute()
    remove_leftovers(path.parent, path.name)
    with private_folder(path) as aside:
        made = aside / path.name
        yield made
        _bring_to_disk(made, _usual_mode(aside))
        if made.is_dir() and path.is_dir() and not path.is_symlink():
            path.rename(aside / f"{path.name[:_LONGEST_BEGINNING]}.replaced")
        made.replace(path)
        _sync(path.parent)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what processes that died were making in a folder: something of that name, or anything."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        match = _ASIDE.fullmatch(entry.name)
        if match and match["begins"] == (name[:_LONGEST_BEGINNING] or match["begins"]) and _is_abandoned(entry):
            shutil.rmtree(entry, ignore_errors=True)


def replace_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file elsewhere, then put it in place in one step."""
    with atomic_replacement(path) as made:
        write(made)


def write_text(path: Path, text: str) -> None:
    replace_atomically(path, lambda made: made.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


@contextmanager
def private_folder(place: Path) -> Iterator[Path]:
    """A new folder beside a place, which is held for as long as it is in use and removed after that; `remove_leftovers`
    removes it if this process dies.
    """
    folder, descriptor = _held_folder(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _held_folder(place: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(".partial", f".{place.name[:_LONGEST_BEGINNING]}.", place.parent))
        with suppress(FileNotFoundError):  # it was taken for a leftover, and removed, before it was held
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # a file system without locks: what is left there stays
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)


def _is_abandoned(folder: Path) -> bool:
    """Whether a folder in which something was made is certainly in use by nobody."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        finally:
            os.close(descriptor)
    return False


def _usual_mode(folder: Path) -> int:
    """The access bits of a new file."""
    probe = folder / "probe.mode"
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    return mode


def _bring_to_disk(made: Path, mode: int) -> None:
    """A file, or a folder with all that is in it, whose files get these access bits."""
    if not made.is_dir():
        made.chmod(mode)
    for inner in sorted(made.iterdir()) if made.is_dir() else ():
        _bring_to_disk(inner, mode)
    _sync(made)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some file systems cannot do it for folders
            raise
    finally:
        os.close(descriptor)
