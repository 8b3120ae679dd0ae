"""DeepSpeed's ZeRO with two processes computes what one does without it, and leaves whole values."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rocoft_bench.engine.launchers import OWN_LAUNCH
from tests.engine.comparison import assert_same

pytest.importorskip("deepspeed", reason="needs the extra deepspeed: pip install 'rocoft-bench[deepspeed]'")
PROGRAM = Path(__file__).with_name("zero_runs.py")


def found(folder: Path, stage: int | None) -> dict[str, Any]:
    """What `zero_runs.py` finds: with two processes and a stage of ZeRO, or alone and without."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    command = [sys.executable, str(PROGRAM), str(folder)]
    if stage is not None:
        environment |= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": str(stage)}
        environment |= {OWN_LAUNCH: "1"}
        command[1:1] = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "found.json").read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("alone")


@pytest.fixture(scope="module")
def one(alone: Path) -> dict[str, Any]:
    return found(alone, None)


@pytest.mark.parametrize("stage", [2, 3])
def test_two_processes_with_zero_train_as_one_without(one: dict[str, Any], stage: int, tmp_path: Path) -> None:
    """With clipping, three passes a step, and a crash after the third of four steps."""
    two = found(tmp_path, stage)
    assert_same(two, one)
    assert (two["own_share"] < 0.6) == (stage == 3)


def test_a_run_goes_on_with_zero_and_more_processes(one: dict[str, Any], alone: Path, tmp_path: Path) -> None:
    """The checkpoint after all four steps is not of ZeRO: evaluated with it, the answers are the same."""
    shutil.copytree(alone, tmp_path / "run")
    again = found(tmp_path / "run", 3)
    assert again["answers"] == one["answers"]
