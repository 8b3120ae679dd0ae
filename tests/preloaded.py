"""Processes of Python that begin with torch, transformers and peft imported already, which takes longer than what tests
do in them. This package is not imported there yet.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.conftest import Outcome

METHOD = "forkserver"
"""As one of the ways that `multiprocessing` has to start processes."""

PROCESSES = multiprocessing.get_context(METHOD)
PROCESSES.set_forkserver_preload(["torch", "transformers", "peft"])
WAIT_SECONDS = 120


def start(code: str, arguments: list[str], output: Path) -> ForkServerProcess:
    """As `python -c CODE ARGUMENTS`, with one thread; what it prints is in the folder `output`."""
    process = PROCESSES.Process(target=_execute, args=(code, arguments, output))
    process.start()
    return process


def run(code: str, *arguments: str) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        process = start(code, [*arguments], Path(folder))
        process.join(WAIT_SECONDS)
        assert process.exitcode is not None, "waited in vain"
        return Outcome(process.exitcode, *((Path(folder) / name).read_text() for name in ("out", "err")))


def _execute(code: str, arguments: list[str], output: Path) -> None:
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(output / name, os.O_WRONLY | os.O_CREAT), descriptor)
    import torch

    torch.set_num_threads(1)
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})
