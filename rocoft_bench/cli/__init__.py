"""The `rocoft` command. One file per command; each parses, calls and prints."""

import errno
import io
import sys
from contextlib import suppress
from pathlib import Path

import typer

from rocoft_bench.cli.console import complain, finish_output, show_what_can_be_shown
from rocoft_bench.cli.options import app
from rocoft_bench.engine.interrupt import Interrupted
from rocoft_bench.engine.warning_filters import silence_library_warnings
from rocoft_bench.errors import UserError, reason, shortened
from rocoft_bench.plugins import left_out

# isort: off
from rocoft_bench.cli import (  # in the order of `rocoft --help`, where ntk, a group, comes last
    train, sweep, evaluate, ntk, bench, demo, report, explain,
    predict, inspect, export, ls, params, validate, prefetch, check,
)  # fmt: skip

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Of the click that typer brings: wrong options and arguments."""

DEVICE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EPIPE)
"""What goes wrong although what was given is right."""


def main() -> None:
    """Entry point. Bad input ends with one line and exit code 2, an interrupted run with 130."""
    silence_library_warnings()
    show_what_can_be_shown()
    sys.exit(_finished())


def _run() -> int:
    try:
        return app(standalone_mode=False) or 0
    except UserError as error:
        complain(f"error: {error}")
    except UsageError as error:
        text = io.StringIO()
        error.show(text)  # type: ignore[attr-defined]
        complain(text.getvalue().rstrip())
    except (KeyboardInterrupt, Interrupted):
        complain("stopped")
        return 130
    return 2


def _finished() -> int:
    """The exit code, after the output is written. An OSError that nobody foresaw is told in one line."""
    try:
        code = _run()
        for line in left_out():
            complain(f"warning: {line}")
        finish_output()
        return code
    except BrokenPipeError:  # who read the output has enough
        with suppress(OSError):
            finish_output()
        return 1
    except OSError as error:
        what = shortened(str(error.filename)) if error.filename else _without_name(error)
        complain(f"error: {what}: {reason(error)}")
        with suppress(OSError):
            finish_output()
        return 1 if error.errno in DEVICE_ERRORS else 2


def _without_name(error: OSError) -> str:
    """Where an error may come from that names no file."""
    try:
        Path.cwd()
    except OSError:
        return "the working directory is gone; cd to one that is there"
    return "the output cannot be written" if error.errno in DEVICE_ERRORS else "a file cannot be used"
