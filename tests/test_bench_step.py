"""What a training step costs beside that of a frozen model, counted by the script that the README names."""

from __future__ import annotations

import runpy
from argparse import Namespace
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench_step.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the scripts are not part of a wheel")
def test_a_step_of_rocoft_computes_what_a_frozen_one_does() -> None:
    settings = Namespace(layers=1, rank=3, device="cpu", batch_size=1, length=16, repeats=1)
    rows = {row["method"]: row for row in runpy.run_path(str(SCRIPT))["measure"](settings)}
    row, column, lora = rows["rocoft row"], rows["rocoft column"], rows["lora r=8, all linear"]
    assert 1 < row["flops_ratio"] <= 1.005
    assert 1 < column["flops_ratio"] <= 1.005 < lora["flops_ratio"]
    assert 1 <= row["saved_ratio"] <= 1.01 >= column["saved_ratio"]
    assert lora["saved_ratio"] > 1.2
    assert row["extra_per_rank_and_width"] <= 1.01
