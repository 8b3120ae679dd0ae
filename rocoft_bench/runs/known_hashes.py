"""Hashes of files' contents, kept so that a sweep of a thousand runs does not read the same rows a thousand times.

They hold for as long as path, size and both times of a file stay: the second one, of its inode, cannot be set back.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

from rocoft_bench.errors import UserError
from rocoft_bench.runs.atomic_files import write_json
from rocoft_bench.untrusted import read_json

MOST = 1000
"""Hashes that are kept, the latest."""


def recall(kind: str, files: Sequence[Path]) -> str | None:
    """The hash that was noted for files as they are now; None if none was. kind: of what in them it is the hash."""
    with suppress(OSError):
        return _known().get(_stamp(kind, files))
    return None


def remember(kind: str, files: Sequence[Path], content_sha256: str) -> None:
    """Note a hash for `recall`, in later processes too where the cache can be written."""
    with suppress(OSError, UserError):
        stamp, known = _stamp(kind, files), _known()
        if known.get(stamp) == content_sha256:
            return
        known[stamp] = content_sha256
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_file(), dict(list({**_read(), stamp: content_sha256}.items())[-MOST:]))


def _stamp(kind: str, files: Sequence[Path]) -> str:
    """Raises: OSError if a file is missing."""
    states = [(str(file.resolve()), state.st_size, state.st_mtime_ns, state.st_ctime_ns)
              for file in files if (state := file.stat())]  # fmt: skip
    return sha256(json.dumps([kind, states]).encode()).hexdigest()[:32]


@cache
def _known() -> dict[str, str]:
    """What this process knows."""
    return _read()


def _read() -> dict[str, str]:
    try:
        found = read_json(_file())
    except UserError:
        return {}
    return found if isinstance(found, dict) else {}


def _file() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "rocoft" / "content_hashes.json"
