"""What a record states of the saved files of trained values, by which a damaged or exchanged file is known."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from rocoft_bench.runs.record import SavedFile

SAMPLES, SAMPLE_BYTES = 64, 1 << 16
"""Of a file of up to 4 MiB all is hashed, of a larger one so much, evenly spread, with its beginning and end."""


def saved_files(folder: Path) -> dict[str, SavedFile]:
    """All files below a folder, by their path in it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): _described(file) for file in files}


def damage(folder: Path, stated: Mapping[str, SavedFile]) -> str | None:
    """In what the files of a folder are not those that were stated, of the first that is not; None if all are."""
    for name, expected in stated.items():
        file = folder / name
        if file.is_symlink() or not file.is_file():
            return f"{file}: is not there"
        if (size := file.stat().st_size) != expected.bytes:
            return f"{file}: has {size:,} bytes, and had {expected.bytes:,} when the run was finished"
        if _described(file) != expected:
            return f"{file}: has changed since the run was finished"
    return None


def _described(file: Path) -> SavedFile:
    size = file.stat().st_size
    starts: Iterable[int] = range(0, size, SAMPLE_BYTES)
    if size > SAMPLES * SAMPLE_BYTES:
        starts = ((size - SAMPLE_BYTES) * index // (SAMPLES - 1) for index in range(SAMPLES))
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for start in starts:
            stream.seek(start)
            digest.update(stream.read(SAMPLE_BYTES))
    return SavedFile(bytes=size, sampled_sha256=digest.hexdigest())
