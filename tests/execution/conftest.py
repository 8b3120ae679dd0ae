"""Jobs whose process is a few lines of Python in place of a training run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rocoft_bench.config import Settings
from rocoft_bench.execution import child
from rocoft_bench.execution.child import Child
from rocoft_bench.execution.job import Job
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import config_values

SCRIPT = """
import os, sys, time, signal
from pathlib import Path
from rocoft_bench.execution.job import Job
job = Job.from_json(sys.argv[-1])
folder = Path(job.folder)
exec(os.environ["CODE"])
"""

RECORD = """
from rocoft_bench.runs import write_json
from rocoft_bench.execution.failures import failure_record
from rocoft_bench.runs import Failure
def record(status, **changes):
    made = failure_record(job, Failure(status, "own words", "own hint"))
    write_json(folder / "record.json", made.model_copy(update=changes).model_dump())
"""
"""Lets the code write a record of its own."""


def make_job(folder: Path, **changes: object) -> Job:
    config = resolve(Settings({"task": {"family": "glue", "name": "rte"}, "method": {"name": "rocoft"}})).config
    fields = {"config": config_values(config), "notes": [], "command": ["rocoft", "sweep"], "evaluations": []}
    return Job(**{"folder": str(folder), **fields, **changes})


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Child]:
    """process(code, **changes of the job) is a run whose process executes `code`, which knows `job` and `folder`."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.setattr(child, "WORKER", (str(script),))

    def make(code: str, **changes: object) -> Child:
        return Child(make_job(tmp_path / "runs" / "run", **changes), {"CODE": code})

    return make
