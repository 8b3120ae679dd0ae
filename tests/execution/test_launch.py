"""Real runs of two processes through the command line: the same results as of one, and every way to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from safetensors.torch import load_file

from rocoft_bench.errors import UserError
from rocoft_bench.execution import launch_options
from rocoft_bench.execution.launch_options import Launch

Cli = Callable[..., Any]
WORKER = "rocoft_bench.execution.worker"
ACCELERATE = Path(__file__).parents[2] / "configs" / "accelerate"


@pytest.fixture
def command(tiny_model: Path, glue_dir: Path) -> list[str]:
    settings = ("model.dropout=0", "training.warmup_steps=2", "training.checkpoint_seconds=0.000001")
    words: list[object] = ["train", "glue", "--task", "rte", "--model", tiny_model, "--data-dir", glue_dir]
    return [*map(str, words), *(word for setting in settings for word in ("--set", setting))]


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in lines(folder / "history.jsonl") if "loss" in entry]


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "record.json").read_text())


def assert_same_result(folder: Path, other: Path) -> None:
    assert losses(folder) == pytest.approx(losses(other), abs=1e-5)
    assert record(folder)["metrics"] == pytest.approx(record(other)["metrics"], abs=1e-9)
    assert record(folder)["epoch_metrics"] == record(other)["epoch_metrics"]
    ours, theirs = lines(folder / "predictions.jsonl"), lines(other / "predictions.jsonl")
    assert [(row["index"], row["prediction"]) for row in ours] == [(row["index"], row["prediction"]) for row in theirs]
    for row, expected in zip(ours, theirs, strict=True):
        assert row["scores"] == pytest.approx(expected["scores"], abs=1e-5)
    weights, expected_weights = (load_file(f / "adapter" / "adapter_model.safetensors") for f in (folder, other))
    assert weights.keys() == expected_weights.keys()
    for name, value in weights.items():
        if ".key.rocoft_adapter.bias" in name:
            continue  # attention does not depend on it: its gradient is rounding, which Adam makes as large as any
        assert value.flatten().tolist() == pytest.approx(expected_weights[name].flatten().tolist(), abs=1e-5)


@pytest.mark.slow
def test_two_processes_compute_what_one_does(
    rocoft: Cli, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """40 rows in batches of 7 make two steps: each process has a whole batch and half of another, the last one short.

    Three evaluation batches of 5, 5 and 3 rows leave one process with one to spare. What another launcher has left in
    the environment does not reach them.
    """
    sizes = ("batch_size=7", "gradient_accumulation=3", "eval_batch_size=5", "keep=best", "evaluate_before=true")
    command += [word for size in sizes for word in ("--set", f"training.{size}")]
    one = rocoft(*command, "--output", tmp_path / "one")
    for name, value in {"GRADIENT_ACCUMULATION_STEPS": "4", "MIXED_PRECISION": "bf16", "USE_FSDP": "true"}.items():
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    two = rocoft(*command, "--output", tmp_path / "two", "--num-processes", 2)
    assert (one.code, two.code) == (0, 0), two.err
    assert_same_result(tmp_path / "two", tmp_path / "one")
    assert record(tmp_path / "two")["processes"] == 2
    assert record(tmp_path / "two")["initial_metrics"] == record(tmp_path / "one")["initial_metrics"]
    assert "the first of 2 processes" in record(tmp_path / "two")["peak_memory_kind"]
    assert record(tmp_path / "two")["config_hash"] == record(tmp_path / "one")["config_hash"]
    shown = [line for line in one.err.splitlines() if "epoch" in line]
    assert [line for line in two.err.splitlines() if "epoch" in line] == shown
    assert len(shown) == 1 + len(record(tmp_path / "one")["epoch_metrics"])
    assert lines_of_command(tmp_path / "two") == lines_of_command(tmp_path / "one")
    again = rocoft(*command, "--output", tmp_path / "two")
    assert "already finished" in again.out


def lines_of_command(folder: Path) -> list[str]:
    words = json.loads((folder / "provenance.json").read_text())["command"]
    return words[: words.index("--output")]


def started(command: list[str], folder: Path) -> subprocess.Popen[str]:
    """The command with two processes, at some step of its training."""
    main = "from rocoft_bench.cli import main; main()"
    words = [sys.executable, "-c", main, *command, "--output", str(folder), "--num-processes", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    file, before = folder / "work" / "checkpoint.safetensors", time.time()
    while process.poll() is None and not (file.exists() and file.stat().st_mtime > before):
        time.sleep(0.02)
    time.sleep(0.2)
    return process


def ranks(folder: Path) -> list[psutil.Process]:
    """The processes that make the run in a folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if WORKER in words and str(folder) in words[-1] and "RANK" in process.environ():
            found.append(process)
    return sorted(found, key=lambda process: int(process.environ()["RANK"]))


@pytest.mark.slow
def test_a_run_is_resumed_after_a_killed_process_and_a_signal_with_any_number(
    rocoft: Cli, command: list[str], tmp_path: Path
) -> None:
    command += ["--epochs", "30", "--batch-size", "8", "--set", "training.evaluate=end"]
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert rocoft(*command, "--output", whole).code == 0

    process = started(command, folder)
    ranks(folder)[1].send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("crashed: process 1 of the run was ended by SIGKILL; ")
    assert "Traceback" not in said
    assert (record(folder)["status"], record(folder)["processes"]) == ("crashed", 2)
    assert ranks(folder) == []

    process = started(command, folder)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped; the same command resumes" in said
    assert "resuming after step" in said
    assert record(folder)["status"] == "interrupted"
    assert ranks(folder) == []

    end = rocoft(*command, "--output", folder)
    assert end.code == 0
    assert_same_result(folder, whole)
    assert any("1 instead of 2 processes from step" in note for note in record(folder)["notes"])


def test_no_process_outlives_the_one_that_started_it(command: list[str], tmp_path: Path) -> None:
    process = started([*command, "--epochs", "2000"], tmp_path / "run")
    left = ranks(tmp_path / "run")
    assert len(left) == 2
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(left, timeout=20)
    assert alive == []
    assert record(tmp_path / "run")["status"] == "interrupted"


def test_bad_input_of_the_processes_is_one_line_and_leaves_nothing(
    rocoft: Cli, command: list[str], tmp_path: Path
) -> None:
    flags = ("--data-dir", tmp_path / "none", "--num-processes", 2, "--output", tmp_path / "run")
    alone = rocoft(*command, *flags[:2], "--output", tmp_path / "run")
    result = rocoft(*command, *flags)
    assert result.code == alone.code == 2
    assert result.err.splitlines()[-1] == alone.err.splitlines()[-1]
    assert "Traceback" not in result.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("launch", "expected"),
    [
        (Launch(num_processes=3, num_machines=2), "must be a multiple of --num-machines 2"),
        (Launch(num_processes=0), "--num-processes 0"),
        (Launch(num_processes=99999999), "--num-processes 99999999: at most 1,024 on each machine"),
        (Launch(num_processes=2, machine_rank=1), "--machine-rank 1: must be from 0 to 0"),
        (Launch(machine_rank=-1), "--machine-rank -1: must be from 0 to 0"),
        (Launch(num_processes=2, num_machines=2), "--main-process-ip"),
        (Launch(main_process_ip="10.0.0.1"), "--main-process-ip: for several machines; say how many: --num-machines"),
        (Launch(main_process_port=29500), "--main-process-port: for several machines"),
        (
            Launch(num_processes=2, num_machines=2, main_process_ip="10.0.0.1", main_process_port=99999999),
            "--main-process-port 99999999: must be from 1 to 65535",
        ),
        (Launch(config_file="none.yaml"), r"--config-file none.yaml: cannot be read \(no such file\)"),
        (Launch(config_file=__file__), "not a file of `accelerate config`"),
        (Launch(config_file=str(ACCELERATE / "fsdp.yaml")), "is for GPUs, and none is here"),
    ],
)
def test_processes_that_cannot_be_had_are_refused(
    launch: Launch, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=expected):
        launch.check()


def test_options_of_processes_are_checked_for_a_run_of_one_process_too(
    rocoft: Cli, command: list[str], tmp_path: Path
) -> None:
    result = rocoft(*command, "--output", tmp_path / "run", "--machine-rank", -1)
    assert result.code == 2
    assert "--machine-rank -1" in result.err
    assert not (tmp_path / "run").exists()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="2 on this machine, which has 1 GPU"):
        Launch(num_processes=2).check()


@pytest.mark.parametrize(
    ("file", "distributed_type"),
    [
        ("ddp.yaml", "MULTI_GPU"),
        ("fsdp.yaml", "FSDP"),
        ("deepspeed_zero2.yaml", "DEEPSPEED"),
        ("deepspeed_zero3.yaml", "DEEPSPEED"),
    ],
)
def test_the_shipped_files_are_accelerates(file: str, distributed_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_options, "find_spec", lambda name: object())
    assert Launch(config_file=str(ACCELERATE / file)).distributed_type() == distributed_type


def test_deepspeed_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_options, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the extra deepspeed: pip install 'rocoft-bench\[deepspeed\]'"):
        Launch(config_file=str(ACCELERATE / "deepspeed_zero2.yaml")).check()


def test_what_accelerate_knows_but_a_run_does_not_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tpu.yaml"
    file.write_text("compute_environment: LOCAL_MACHINE\ndistributed_type: XLA\nnum_processes: 2\n")
    with pytest.raises(UserError, match=r"'XLA' is not supported"):
        Launch(config_file=str(file)).distributed_type()


def test_a_method_of_one_process_says_so_before_anything_starts(
    rocoft: Cli, command: list[str], tmp_path: Path
) -> None:
    result = rocoft(*command, "--method", "sft", "--num-processes", 2, "--output", tmp_path / "run")
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("error: --num-processes: sft is trained by one process")
    assert not (tmp_path / "run").exists()


def test_a_config_file_that_no_reader_would_end_to_read(tmp_path: Path) -> None:
    file = tmp_path / "accelerate.yaml"
    file.write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"not a file of `accelerate config` .*more than 30 lists"):
        Launch(config_file=str(file)).distributed_type()
