from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.untrusted import open_file, read_bytes, read_text, require_file


def special(folder: Path, kind: str) -> Path:
    path = folder / kind.replace(" ", "-")
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a socket", "a device"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = special(Path(), kind)
    for read in (read_text, read_bytes, require_file):
        with pytest.raises(UserError, match=f"is {kind}, not a file"):
            read(path)


def test_a_link_to_a_file_is_followed_unless_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    link = tmp_path / "link"
    link.symlink_to("file")
    assert read_text(link) == "text"
    with pytest.raises(UserError, match="is a link, not a file"):
        open_file(link, follow_links=False)


@pytest.mark.parametrize(
    ("name", "expected"), [("absent", "no such file"), ("x" * 300, "name too long"), ("a\0b", "null byte")]
)
def test_a_name_without_a_file(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(UserError, match=f"cannot be read .*{expected}"):
        read_text(tmp_path / name)


def test_the_limit_is_on_bytes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 11)
    assert read_bytes(file, limit=11) == b"x" * 11
    with pytest.raises(UserError, match="is larger than"):
        read_bytes(file, limit=10)


def test_text_is_utf8_and_the_line_that_is_not_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xef\xbb\xbfone\ncaf\xe9\n")
    with pytest.raises(UserError, match="line 2: byte 0xe9 is not UTF-8"):
        read_text(file)
    file.write_bytes(b"\xef\xbb\xbfone")
    assert read_text(file) == "one"
