"""What reaches the terminal: nothing that it obeys or cannot show; one line where it cannot be written."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.progress import Progress

import rocoft_bench.cli
from rocoft_bench.cli.console import TerminalConsole, printable
from rocoft_bench.cli.ntk_progress import KernelDisplay
from rocoft_bench.cli.progress import Display
from rocoft_bench.engine.interrupt import GracefulStop

Cli = Callable[..., Any]
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]")
RED = "\x1b[31mred\x07\u202e\x9b"


def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`rocoft …` in a shell."""
    rocoft = f"{sys.executable} -c 'from rocoft_bench.cli import main; main()'"
    code = command.replace("rocoft ", f"{rocoft} ", 1)
    root = str(Path(rocoft_bench.__file__).parents[1])
    environment = {"PYTHONPATH": root, "PATH": "/usr/bin:/bin", **environment}
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, env=environment, errors="replace")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (f"rocoft ls {RED!r}", 2),
        ("rocoft ls tasks >/dev/full", 1),
        ("rocoft validate glue/rte.yaml >/dev/full", 1),
        ("rocoft ls tasks >/dev/full 2>/dev/full", 1),
        ("rocoft ls tasks >&-", 0),
        ("rocoft report \"$(printf 'x%.0s' {1..300})\"", 2),
        ("mkdir gone && cd gone && rmdir ../gone && rocoft validate run.yaml", 2),
        ("rocoft validate $'caf\\xe9.yaml'", 2),
        ("rocoft validate $'\\e[31m.yaml'", 2),
    ],
)
def test_one_line_and_no_traceback(command: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(command)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
    assert not CONTROL.search(result.stdout + result.stderr)
    assert len(result.stderr.splitlines()) <= 4


def test_a_reader_that_has_enough_is_no_error() -> None:
    result = run("rocoft ls methods | head -1")
    assert (result.stdout.count("\n"), result.stderr) == (1, "")


def test_the_version_is_that_of_the_package() -> None:
    result = run("rocoft --version")
    assert (result.stdout, result.returncode) == (f"rocoft-bench {rocoft_bench.__version__}\n", 0)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_lists_are_as_wide_as_the_terminal_and_complete(width: int) -> None:
    """A pipe gets a line for each method; a terminal the same words, in blocks that each have all the names."""
    piped = run("rocoft ls methods").stdout.splitlines()
    shown = run("rocoft ls methods", COLUMNS=str(width)).stdout
    assert max(map(len, shown.splitlines())) <= width < max(map(len, piped))
    names = [line.split()[0] for line in piped]
    for block in shown.split("\n\n"):
        assert [line.split()[0] for line in block.splitlines() if not line.startswith(" ")] == names
    assert set(" ".join(piped).split()) == set(shown.split())


def test_a_terminal_of_ascii_gets_the_other_characters_escaped() -> None:
    result = run("rocoft report --audit", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (result.returncode, result.stderr) == (0, "")
    assert "\\u" in result.stdout
    assert result.stdout.isascii()


def test_only_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("tab\tline\nkäse ✓ 👩‍💻") == "tab\tline\nkäse ✓ 👩‍💻"
    assert printable(RED) == r"\x1b[31mred\x07\u202e\x9b"


def test_rich_text_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    console = TerminalConsole()
    with Progress(console=console):
        console.print(f"m[/b] :warning: {RED}")
    out = capsys.readouterr().out
    assert "m[/b] :warning: " in out
    assert not CONTROL.search(out.replace("\x1b[", ""))


def test_markup_in_a_name_is_part_of_the_name(rocoft: Cli, glue_dir: Path, tmp_path: Path) -> None:
    options = ("--task", "rte", "--data-dir", glue_dir, "--output", tmp_path / "run")
    result = rocoft("train", "glue", "--model", f"m[/b]{RED}", *options)
    assert result.code == 2
    assert "m[/b]\\x1b[31mred" in result.err
    assert not CONTROL.search(result.err)


def test_nothing_prints_but_the_console() -> None:
    for file in Path(rocoft_bench.cli.__file__).parent.glob("*.py"):
        if file.name != "console.py":
            assert not re.search(r"typer\.echo|(?<![.\w])print\(|(?<!Terminal)Console\(", file.read_text()), file.name


def test_a_note_is_one_line_of_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with Display("title") as display:
        display.note("word " * 100)
    assert capsys.readouterr().err.rstrip("\n") == f"title\n  note: {'word ' * 100}"


def test_an_analysis_shows_no_commands_either(capsys: pytest.CaptureFixture[str]) -> None:
    with KernelDisplay(RED, GracefulStop()) as display:
        display.note(RED)
        display.finished_part(RED)
    shown = capsys.readouterr().err
    assert shown.count("red") == 3
    assert not CONTROL.search(shown)
