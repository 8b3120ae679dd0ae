"""Runs as jobs of Slurm, by the executors that submitit has for tests, and by commands that only write down."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from rocoft_bench.config import read_sweep
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.execution import slurm_executor as module
from rocoft_bench.execution.channel import Channel
from rocoft_bench.execution.cluster import LostError
from rocoft_bench.execution.executor import Demand
from rocoft_bench.execution.run_process import RunProcess
from rocoft_bench.execution.slurm_executor import SlurmExecutor, sbatch_options, slurm_executor
from rocoft_bench.runs import RunDirectory
from rocoft_bench.sweep.plan import PlannedRun, make_plan
from rocoft_bench.sweep.runner import Runner, SweepView
from tests.execution.conftest import RECORD, make_job

submitit = pytest.importorskip("submitit")

EPOCHS = 60
ONE_RUN = Demand(1, None, 1, None)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands of Slurm that know two partitions; the folder where the submitted script is written down."""
    commands = {
        "sinfo": "echo 'cpu* (null)'; echo 'gpu (null)'; echo 'gpu gpu:a100:4'",
        "sbatch": f"cp $1 {tmp_path}/script; echo Submitted batch job 7",
        "srun": "true",
    }
    (tmp_path / "bin").mkdir()
    for name, text in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path


def submitted(executor: SlurmExecutor, folder: Path, **changes: object) -> set[str]:
    """The options of a job."""
    executor._submit(make_job(folder / "run", **changes), Channel(folder))
    lines = (folder / "script").read_text().splitlines()
    return {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}


def test_a_job_asks_for_what_its_run_needs(slurm: Path) -> None:
    executor = slurm_executor(
        Demand(3, None, 2, None), slurm / "out", "gpu", sbatch_options(["--account=nlp", "cpus-per-task=8"])
    )
    assert executor.slots == 3
    options = submitted(executor, slurm, memory_mib=2000.0, seconds=3600.0)
    assert {"gpus-per-node=2", "mem=6GB", "time=180", "partition=gpu", "account=nlp", "cpus-per-task=8"} <= options
    assert "time=64" in submitted(executor, slurm, timeout_seconds=3600.0)
    options = submitted(slurm_executor(Demand(3, 1, 1, None), slurm / "out", None, {}), slurm)
    assert "time=1440" in options
    assert not any(option.startswith(("gpus", "mem", "partition")) for option in options)


def test_what_is_missing_is_said_before_anything_is_submitted(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r'--partition gppu: .*did you mean "gpu"\?'):
        slurm_executor(ONE_RUN, slurm / "out", "gppu", {})
    monkeypatch.setenv("PATH", str(slurm))
    with pytest.raises(UserError, match="no sbatch here"):
        slurm_executor(ONE_RUN, slurm / "out", None, {})
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'rocoft-bench\[slurm\]'"):
        slurm_executor(ONE_RUN, slurm / "out", None, {})
    assert not (slurm / "out").exists()


def test_a_lost_job_says_what_it_printed_last(tmp_path: Path) -> None:
    job = submitit.AutoExecutor(tmp_path, "local").submit(int, "x")
    job.wait()
    with pytest.raises(LostError, match=r"^ValueError: invalid literal"):
        SlurmExecutor(1, tmp_path, cluster="local")._outcome(job)


def test_a_job_of_the_debug_executor(
    process: Callable[..., RunProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = process("").job
    monkeypatch.setenv("CODE", RECORD + "record('ok', metrics={'accuracy': 0.5})")
    executor = SlurmExecutor(1, tmp_path / "out", cluster="debug")
    outcome = executor.submit(job, Observer()).result()
    assert (outcome.status, outcome.metrics) == ("ok", {"accuracy": 0.5})
    executor.close()


@pytest.fixture
def runs(tiny_model: Path, glue_dir: Path, tmp_path: Path) -> list[PlannedRun]:
    """Four runs of some seconds."""
    content = {
        "task": {"family": "glue", "name": "rte", "data_dir": str(glue_dir)},
        "model": {"name": str(tiny_model)},
        "method": {"name": "rocoft"},
        "training": {"epochs": EPOCHS, "batch_size": 8, "warmup_steps": 2, "evaluate": "end"},
        "axes": {"seed": [0, 1, 2, 3]},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    sweep = read_sweep(tmp_path / "sweep.yaml")
    assert sweep is not None
    return make_plan(sweep, tmp_path / "results").runs


def worker_of(run: PlannedRun) -> psutil.Process | None:
    """The worker of a run, once the run can be resumed."""
    if (RunDirectory(run.folder).work / "checkpoint.safetensors").is_file():
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or [""]
            if "rocoft_bench.execution.worker" in words and str(run.folder) in words[-1]:
                return process
    return None


class StoppingView(SweepView):
    """Sends a signal to the job of each run that has one by its name, at the first step after which it can be resumed.

    done_steps: by run, how many steps it had made at each of its starts.
    """

    def __init__(self, signals: dict[str, signal.Signals]) -> None:
        self.signals = signals
        self.done_steps: dict[str, list[int]] = {}

    def started(self, run: PlannedRun) -> Observer:
        observer, starts = Observer(), self.done_steps.setdefault(run.name, [])
        observer.training_started = lambda total_steps, done_steps: starts.append(done_steps)  # type: ignore[method-assign]
        observer.step_done = lambda step: self._stop(run)  # type: ignore[method-assign]
        return observer

    def _stop(self, run: PlannedRun) -> None:
        if run.name in self.signals and (worker := worker_of(run)) is not None:
            job: Any = worker.parent()
            job.send_signal(self.signals.pop(run.name))


@pytest.mark.slow
def test_preempted_runs_and_one_whose_job_is_killed_are_resumed(
    runs: list[PlannedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 1)
    executor = SlurmExecutor(2, tmp_path / "results", cluster="local")
    sent = (signal.SIGUSR2, signal.SIGKILL, signal.SIGTERM)
    view = StoppingView({run.name: each for run, each in zip(runs, sent, strict=False)})
    found = list(Runner(runs, executor, view, lambda run: run.job(["rocoft"])).run())
    assert not view.signals, "ended before it could be stopped"
    assert {run.name: outcome.status for run, outcome in found} == {run.name: "ok" for run in runs}
    for run, starts in zip(runs, (2, 2, 2, 1), strict=True):
        assert RunDirectory(run.folder).read_record().steps == EPOCHS * 5
        assert [done > 0 for done in view.done_steps[run.name]] == [False, True][:starts], "begun from its first step"
    assert not list((tmp_path / "results").glob(".cluster-*"))
