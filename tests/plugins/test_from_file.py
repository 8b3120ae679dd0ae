"""Plug-ins that are files: loaded once, as they are, and what is wrong with one is said in a line."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.methods import METHODS
from rocoft_bench.plugins import load_files, named_files
from tests.plugins.conftest import EXAMPLE

METHOD = EXAMPLE / "role_bias" / "method.py"
LINE = METHOD.read_text().splitlines().index("@METHODS.add") + 1


def test_a_file_is_loaded_once_and_told_to_other_processes_with_its_content() -> None:
    load_files([METHOD, METHOD])
    assert str(METHODS.origin("role-bias")) == "method.py"
    assert named_files() == {str(METHOD): hashlib.sha256(METHOD.read_bytes()).hexdigest()}
    load_files(named_files())


def test_a_copy_of_a_file_is_the_same_plugin(tmp_path: Path) -> None:
    copy = tmp_path / "method.py"
    copy.write_text(METHOD.read_text())
    load_files([METHOD, copy])
    assert len(named_files()) == 2


def test_another_process_takes_no_other_content(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD.read_text() + "\n")
    with pytest.raises(UserError, match=r"mine\.py: has changed since this command began"):
        load_files({str(file): hashlib.sha256(METHOD.read_bytes()).hexdigest()})
    assert "role-bias" not in METHODS


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\nimport nowhere\n", r", line 2: ModuleNotFoundError: No module named 'nowhere'"),
        ("def broken(:\n", r", line 1: SyntaxError: invalid syntax"),
        ("import sys\n\nsys.exit('bye')\n", r", line 3: SystemExit: bye"),
        ("x = 1\n", r": adds nothing; e\.g\. METHODS\.add\(MyMethod\) of rocoft_bench\.methods does"),
        (
            METHOD.read_text().replace('"role-bias"', '"lora"'),
            rf", line {LINE}: method lora: both rocoft-bench and .*/mine\.py have one; rename or remove one",
        ),
        ("from rocoft_bench.tasks import TASKS\nTASKS.add(int)\n", r", line 2: mine\.py: <class 'int'> is no task"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_in_one_line(tmp_path: Path, code: str, message: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(code)
    with pytest.raises(UserError, match=r"^--plugin .*mine\.py" + message) as error:
        load_files([file])
    assert "\n" not in str(error.value)
    assert not named_files()
    assert not any(name.startswith("rocoft_plugin_mine") for name in sys.modules)


def test_what_a_file_added_before_it_failed_is_taken_back(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(METHOD.read_text() + "\n1 / 0\n")
    with pytest.raises(UserError, match="ZeroDivisionError"):
        load_files([file])
    assert "role-bias" not in METHODS


@pytest.mark.parametrize("name", ["nowhere.py", ".", "a\0b"])
def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--plugin .*: cannot be read \("):
        load_files([name])


def test_two_files_with_one_name(rocoft: Callable[..., Any], tmp_path: Path) -> None:
    other = tmp_path / "method.py"
    other.write_text(METHOD.read_text() + "\n")
    outcome = rocoft("ls", "methods", "--plugin", METHOD, "--plugin", other)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert f"line {LINE}: method role-bias: both {METHOD} and {other} have one; rename or remove one" in outcome.err
