"""Two sweeps over the same runs and folder at the same time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rocoft_bench.config import Settings
from rocoft_bench.execution.executor import LocalExecutor
from rocoft_bench.execution.run_process import RunProcess
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.sweep import runner as runner_module
from rocoft_bench.sweep.plan import PlannedRun, State
from rocoft_bench.sweep.runner import Runner, SweepView
from tests.execution.conftest import RECORD, make_job

CODE = (
    RECORD + "with (folder / 'executions').open('a') as file: file.write('once\\n')\n"
    "time.sleep(0.3)\n"
    "(folder / 'adapter').mkdir()\n"
    "fine = job.folder[-1] != '2'\n"
    "record('ok' if fine else 'nan', metrics={})\n"
    "sys.exit(0 if fine else 1)"
)


def test_no_run_is_executed_twice(
    process: Callable[..., RunProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "BUSY_SECONDS", 0.2)
    process("")  # jobs execute CODE
    experiment = resolve(Settings({"task": {"family": "glue", "name": "rte"}}))
    folders = [tmp_path / f"task/run{i}" for i in range(6)]
    found: list[Counter[str]] = []

    def sweep() -> None:
        runs = [PlannedRun("", experiment, [], None, folder, State.TO_DO) for folder in folders]
        executor = LocalExecutor([{"CODE": CODE}] * 2)
        runner = Runner(runs, executor, SweepView(), lambda run: make_job(run.folder))
        found.append(Counter(outcome.status for _, outcome in runner.run()))

    threads = [threading.Thread(target=sweep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [(folder / "executions").read_text() for folder in folders] == ["once\n"] * 6
    together = found[0] + found[1]
    assert together == {"ok": 5, "nan": 1, "elsewhere": 6}
