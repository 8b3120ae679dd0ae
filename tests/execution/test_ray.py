"""Sweeps on a Ray cluster of this machine: a head that runs nothing, and two nodes with one core each."""

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

from rocoft_bench.errors import UserError
from rocoft_bench.execution import ray_executor
from rocoft_bench.execution.executor import Demand
from rocoft_bench.execution.ray_executor import room, with_memory
from rocoft_bench.runs import RunDirectory

cluster_utils = pytest.importorskip("ray.cluster_utils")

STORE_BYTES = 80 * 2**20
WAIT_SECONDS = 90
EPOCHS = 60
ONE_RUN = Demand(1, None, 1, None)
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
    """sweep() starts, or resumes, a sweep of two runs of some seconds, in a folder of its own."""
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


def workers(folder: Path) -> list[tuple[psutil.Process, Path]]:
    """The processes that make runs of the sweep in a folder, each with the run's folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder) and "rocoft_bench.execution.worker" in (words := process.cmdline()):
                found.append((process, folder / json.loads(words[-1])["folder"]))
        except psutil.Error:
            continue
    return found


def wait_for_both(process: subprocess.Popen[str], folder: Path, checkpoints: bool) -> Any:
    """The workers of both runs, once they are there and, if need be, both can be resumed."""

    def ready() -> Any:
        assert process.poll() is None, process.communicate()[0]
        found = workers(folder)
        resumable = [(RunDirectory(run).work / "checkpoint.safetensors").is_file() for _, run in found]
        return found if len(found) == 2 and (all(resumable) or not checkpoints) else None

    return wait_for(ready)


def wait_for(condition: Callable[[], Any]) -> Any:
    """The value of the condition as soon as it is true."""
    end = time.monotonic() + WAIT_SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return value


def test_a_stopped_and_a_killed_sweep_leave_no_process(sweep: Callable[[], Any], tmp_path: Path) -> None:
    process = sweep()
    wait_for_both(process, tmp_path, checkpoints=False)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130, out
    assert out.splitlines()[-1] == "2 interrupted, 2 still to do"
    assert not workers(tmp_path)
    assert not list((tmp_path / "results").glob(".cluster-*"))

    process = sweep()
    wait_for_both(process, tmp_path, checkpoints=False)
    process.kill()
    wait_for(lambda: not workers(tmp_path))
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.slow
def test_a_run_is_resumed_when_its_node_dies(cluster: Any, sweep: Callable[[], Any], tmp_path: Path) -> None:
    process = sweep()
    runs = wait_for_both(process, tmp_path, checkpoints=True)
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
    assert not workers(tmp_path)


def test_a_run_takes_a_node_with_all_it_needs() -> None:
    small, large = {"CPU": 2.0, "memory": 4 * 2**30}, {"CPU": 5.0, "GPU": 2.0, "memory": 9 * 2**30}
    nodes = [{"Alive": True, "Resources": small}, {"Alive": True, "Resources": large}]
    gone = {"Alive": False, "Resources": large}
    assert room([*nodes, gone], {"CPU": 1}) == 7
    assert room(nodes, {"CPU": 2}) == 3
    assert room(nodes, {"CPU": 1, "GPU": 1}) == 2
    assert room(nodes, {"CPU": 6}) == 0
    assert with_memory({"CPU": 1, "GPU": 1}, 1000, nodes) == {"CPU": 1, "GPU": 1}, "the estimate is of the GPU's memory"
    assert room(nodes, with_memory({"CPU": 1}, 3 * 1024, nodes)) == 1 + 3
    assert room(nodes, with_memory({"CPU": 1}, 99 * 1024, nodes)) == 1, "what fits nowhere has the largest node"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "local", "here"])
def test_where_no_cluster_is_it_says_so_at_once(address: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"--address {address}: no Ray cluster there .*ray start --head"):
        ray_executor.ray_executor(ONE_RUN, tmp_path, address)


def test_missing_ray_is_said_with_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ray_executor, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'rocoft-bench\[ray\]'"):
        ray_executor.ray_executor(ONE_RUN, tmp_path, None)
