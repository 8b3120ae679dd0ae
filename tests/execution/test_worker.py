"""What the process of a run does beside the run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.execution.job import Job
from tests.execution.conftest import make_job

TOLD_TWICE = """
import os, signal
from rocoft_bench.engine.interrupt import GracefulStop
from rocoft_bench.execution.worker import StopsOnce
StopsOnce().training_started(10, 0)
with GracefulStop() as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop.requested
os.kill(os.getpid(), signal.SIGTERM)
print("the record is written")
"""


def test_a_run_that_is_told_to_end_twice_still_writes_its_record() -> None:
    """As one of several workers whose launcher has died: another worker passes it on, and it sees so by itself."""
    ended = subprocess.run([sys.executable, "-c", TOLD_TWICE], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (0, "the record is written\n")


def test_a_plugin_that_has_changed_since_the_command_began_is_not_run(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.touch()
    job = Job.from_json(make_job(tmp_path / "run", plugins={str(plugin): "another"}).as_json())
    with pytest.raises(UserError, match="has changed since this command began"):
        _ = job.experiment
