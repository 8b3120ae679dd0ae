"""What is written is there whole, with the usual access, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rocoft_bench.runs import (
    atomic_files,
    atomic_replacement,
    remove_leftovers,
    replace_atomically,
    write_json,
    write_text,
)

KILLED = """
import os, sys
from pathlib import Path
from rocoft_bench.runs import atomic_replacement
with atomic_replacement(Path(sys.argv[1])) as made:
    made.mkdir()
    (made / "half").write_text("h")
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_nothing_is_written_through_a_link_that_waits_there(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("keep")
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in (".record.json.partial", "record.json"):
        (folder / name).symlink_to(mine)
    write_json(folder / "record.json", {"status": "ok"})
    assert mine.read_text() == "keep"
    assert not (folder / "record.json").is_symlink()
    assert "ok" in (folder / "record.json").read_text()


@pytest.mark.usefixtures("umask")
def test_access_follows_the_umask(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "a")
    replace_atomically(tmp_path / "b.safetensors", lambda made: save_file({"x": torch.zeros(2)}, made))
    with atomic_replacement(tmp_path / "folder") as made:
        made.mkdir()
        save_file({"x": torch.zeros(2)}, made / "c.safetensors")
    files = [tmp_path / "a.txt", tmp_path / "b.safetensors", tmp_path / "folder" / "c.safetensors"]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o640] * 3
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o750


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for text in ("old", "new"):
        with atomic_replacement(folder) as made:
            made.mkdir()
            (made / text).write_text(text)
    assert [file.name for file in folder.iterdir()] == ["new"]

    def fill_the_disk(made: Path) -> None:
        made.mkdir()
        (made / "half").write_text("h")
        raise OSError(28, "the disk is full")

    with pytest.raises(OSError, match="full"):
        replace_atomically(folder, fill_the_disk)
    assert [file.name for file in folder.iterdir()] == ["new"]
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "model")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_replacement(tmp_path / "model") as made:
        made.mkdir()
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_what_a_living_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    with atomic_replacement(tmp_path / "model") as made:
        made.mkdir()
        (made / "half").touch()
        remove_leftovers(tmp_path)
        assert (made / "half").exists()
    assert (tmp_path / "model" / "half").exists()


def test_files_and_their_folder_reach_the_disk_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        done.append("put in place")
        return replace(self, target)

    monkeypatch.setattr(atomic_files.os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    with atomic_replacement(tmp_path / "adapter") as made:
        made.mkdir()
        (made / "weights").write_text("w")
    assert done == ["weights", "adapter", "put in place", tmp_path.name]


def test_a_long_name_is_no_obstacle(tmp_path: Path) -> None:
    name = "x" * 255
    write_text(tmp_path / name, "a")
    assert [file.name for file in tmp_path.iterdir()] == [name]
