"""Sweeps on a Ray cluster of this machine: a head that carries out nothing, and two nodes with one core each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from rocoft_bench.runs import RunDirectory

cluster_utils = pytest.importorskip("ray.cluster_utils")

Cli = Callable[..., Any]
STORE_BYTES = 80 * 2**20
WAIT_SECONDS = 90
EPOCHS = 120
LOSES_NODES_QUICKLY = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 6,
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        made = cluster_utils.Cluster(
            initialize_head=True, head_node_args={**head, "_system_config": LOSES_NODES_QUICKLY}
        )
        try:
            for _ in range(2):
                made.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            yield made
        finally:
            made.shutdown()


@pytest.fixture
def sweep(cluster: Any, tiny_model: Path, glue_dir: Path, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """sweep() starts, or goes on with, a sweep of two runs of some seconds, in a folder of its own."""
    content = {
        "task": {"family": "glue", "name": "rte", "data_dir": str(glue_dir)},
        "model": {"name": str(tiny_model)},
        "method": {"name": "rocoft"},
        "training": {"epochs": EPOCHS, "batch_size": 8, "warmup_steps": 2, "evaluate": "end"},
        "axes": {"seed": [0, 1]},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(content))
    started = []

    def start() -> subprocess.Popen[str]:
        options = ["--executor", "ray", "--address", cluster.address, "--track", "tensorboard"]
        command = [sys.executable, "-c", "from rocoft_bench.cli import main; main()", "sweep", "sweep.yaml", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, cwd=tmp_path, text=True, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(condition: Callable[[], Any]) -> Any:
    """The value of the condition as soon as it is true."""
    end = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return value


def carriers(folder: Path) -> list[tuple[psutil.Process, Path]]:
    """The processes that carry out runs of the sweep in a folder, each with the run's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and "rocoft_bench.sweep.worker" in (words := process.cmdline()):
                found.append((process, folder / json.loads(words[-1])["folder"]))
        except psutil.Error:
            continue
    return found


def with_checkpoints(folder: Path) -> list[tuple[psutil.Process, Path]]:
    """Both runs, once both can be gone on with."""
    found = carriers(folder)
    ready = all((RunDirectory(run).work / "checkpoint.safetensors").is_file() for _, run in found)
    return found if ready and len(found) == 2 else []


def test_stopping_and_a_dead_sweep_leave_no_process(sweep: Callable[[], Any], tmp_path: Path) -> None:
    process = sweep()
    wait_for(lambda: with_checkpoints(tmp_path))
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130, out
    assert "2 interrupted, 2 still to do" in out
    assert not carriers(tmp_path)
    assert not list((tmp_path / "results").glob(".ray-*"))

    process = sweep()
    wait_for(lambda: with_checkpoints(tmp_path))
    process.kill()
    wait_for(lambda: not carriers(tmp_path))
    assert not list(tmp_path.rglob("adapter")), "no run was finished"


def test_a_run_goes_on_when_its_node_dies(cluster: Any, sweep: Callable[[], Any], tmp_path: Path) -> None:
    process = sweep()
    runs = wait_for(lambda: with_checkpoints(tmp_path))
    node = sorted(cluster.worker_nodes, key=lambda node: node.node_id)[0]
    raylet = node.all_processes["raylet"][0].process.pid
    (lost,) = [run for child, run in runs if raylet in {parent.pid for parent in child.parents()}]
    (other,) = [run for _, run in runs if run != lost]
    cluster.remove_node(node, allow_graceful=False)

    out, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 0, out
    assert out.splitlines()[-1] == "2 ok"
    for run, starts in ((lost, 2), (other, 1)):
        assert RunDirectory(run).read_record().steps == EPOCHS * 5
        assert len(list((run / "tracking").glob("events*"))) == starts
        assert len(list((run / "tracking").glob("*/hparams.yml"))) == 1, "the second start was not from the beginning"
    assert not carriers(tmp_path)
