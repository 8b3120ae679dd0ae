"""One process at a time, also where others come and go, and a clear word where there are no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.runs import RunBusyError, RunDirectory, lock

STRESS = """
import sys, time
from pathlib import Path
from rocoft_bench.runs import RunBusyError, RunDirectory
run, inside, overlaps, holds = RunDirectory(Path(sys.argv[1])), Path(sys.argv[2]), 0, 0
end = time.monotonic() + 3
while time.monotonic() < end:
    try:
        with run.locked():
            holds += 1
            try:
                inside.touch(exist_ok=False)
            except FileExistsError:
                overlaps += 1
            inside.unlink(missing_ok=True)
    except RunBusyError:
        pass
print(holds, overlaps)
"""
"""Takes and gives up the lock of a run that never begins, so that its file comes and goes."""


def test_two_never_hold_a_lock_whose_file_comes_and_goes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STRESS, str(tmp_path / "run"), str(tmp_path / "inside")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [list(map(int, process.communicate()[0].split())) for process in processes]
    assert sum(holds for holds, _ in counts) > 20
    assert [overlaps for _, overlaps in counts] == [0, 0, 0]


def test_a_lock_whose_file_was_taken_away_counts_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first holder removes the file between the opening and the locking of the second."""
    file = tmp_path / ".lock"
    first = lock.acquire(file)
    assert first is not None
    flock = fcntl.flock

    def give_up_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        file.unlink()
        os.close(first)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", give_up_first)
    second = lock.acquire(file)
    assert second is not None
    assert lock.is_held(file), "the lock is on a file that nobody else can see"
    os.close(second)


def test_looking_whether_a_lock_is_held_is_in_nobodys_way(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    file.touch()
    watching = os.open(file, os.O_RDONLY)
    fcntl.flock(watching, fcntl.LOCK_SH)
    assert not lock.is_held(file)
    os.close(watching)
    file.unlink()
    assert not lock.is_held(file)
    assert not file.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    run = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match=r"has no file locks .* local disk") as caught, run.locked():
        pass
    assert not isinstance(caught.value, RunBusyError)
    with pytest.raises(UserError, match="has no file locks"):
        run.check_writable()  # of a sweep: told at once, and not by each of its runs
    (run.path / ".lock").touch()
    with pytest.raises(UserError, match="has no file locks"):
        run.is_busy()


def test_a_lock_is_no_link_and_no_pipe(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(UserError, match=f"{name}: is"):
            lock.acquire(tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()
