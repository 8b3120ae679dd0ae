"""Whenever a run, an evaluation, an export or a report dies, or the disk is full, the next start ends the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "kill_points.py"


@pytest.mark.slow
def test_a_death_before_some_of_the_file_operations(tiny_model: Path, glue_dir: Path) -> None:
    """The script's own process: one that has trained cannot be forked to train again."""
    settings = {
        **{"model.name": tiny_model, "task.family": "glue", "task.name": "rte", "task.data_dir": glue_dir},
        **{"task.max_train_rows": 16, "training.epochs": 1, "training.batch_size": 8, "training.warmup_steps": 0},
    }
    command = [sys.executable, SCRIPT, *(f"{key}={value}" for key, value in settings.items()), "--every", 14]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.split(":")[0] for line in result.stdout.splitlines()[:4]] == ["train", "evaluate", "export", "report"]
