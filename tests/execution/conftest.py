"""Jobs whose worker is a few lines of Python in place of a training run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rocoft_bench.config import Settings
from rocoft_bench.execution import run_process
from rocoft_bench.execution.channel import Channel
from rocoft_bench.execution.job import Job
from rocoft_bench.execution.run_process import RunProcess
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import config_values

SCRIPT = """
import os, sys, time, signal
from pathlib import Path
from rocoft_bench.execution.channel import Channel
from rocoft_bench.execution.job import Job
job = Job.from_json(sys.argv[-1])
channel = Channel(Path(sys.argv[2]))
folder = Path(job.folder)
exec(os.environ["CODE"])
"""

RECORD = """
from rocoft_bench.runs import write_json
from rocoft_bench.execution.diagnosis import failure_record
from rocoft_bench.runs import Failure
def record(status, **changes):
    made = failure_record(job, Failure(status, "own words", "own hint"))
    write_json(folder / "record.json", made.model_copy(update=changes).model_dump())
"""
"""Lets the code write a record of its own."""


def make_job(folder: Path, **changes: object) -> Job:
    config = resolve(Settings({"task": {"family": "glue", "name": "rte"}, "method": {"name": "rocoft"}})).config
    fields = {"config": config_values(config), "notes": [], "command": ["rocoft", "sweep"]}
    return Job(**{"folder": str(folder), **fields, **changes})


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunProcess]:
    """process(code, **changes of the job) is a run whose worker executes `code`, which knows `job`, `channel` and
    `folder`.
    """
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(run_process, "WORKER", (str(script),))

    def make(code: str, **changes: object) -> RunProcess:
        return RunProcess(make_job(tmp_path / "runs" / "run", **changes), Channel.made_in(tmp_path), {"CODE": code})

    return make
