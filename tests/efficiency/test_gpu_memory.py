"""What a GPU's allocator says of steps, by one that is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rocoft_bench.efficiency.step_counts import GpuMemory

MIB = 2**20


class Allocator:
    """100 MiB are allocated and 150 reserved; the n-th step takes n MiB more, and 7 in reserve."""

    cached, steps = 50 * MIB, 0

    def __getattr__(self, name: str) -> Any:
        more = self.steps * MIB * name.startswith("max_")
        reserved = "reserved" in name
        spare = self.cached + 7 * MIB * name.startswith("max_") if reserved else 0
        return lambda device: 100 * MIB + spare + more

    def empty_cache(self) -> None:
        self.cached = 0

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.steps += 1


def test_over_steps() -> None:
    memory = GpuMemory(torch.device("cuda"), allocator := Allocator())
    memory.give_back()
    assert allocator.cached == 0
    for _ in range(101):
        with memory.watching():
            pass
    assert memory.allocated == [n * MIB for n in range(1, 102)]
    found = memory.over_steps(held=10 * MIB)
    assert found == {"mean_memory_mib": 10 + 51, "memory_mib_99": 10 + 100, "reserved_memory_mib": 10 + 1 + 7}


def test_a_cpu_has_no_such_counts() -> None:
    memory = GpuMemory(torch.device("cpu"))
    with memory.watching():
        pass
    assert memory.over_steps(held=1) == {}


def test_records_have_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from rocoft_bench.efficiency import bench_subject
    from rocoft_bench.efficiency.bench_run import measure
    from tests.efficiency.test_bench import settings

    monkeypatch.setattr(bench_subject, "GpuMemory", lambda device: GpuMemory(torch.device("cuda"), Allocator()))
    frozen, row = measure([settings({"name": name}, turns=2) for name in ("frozen", "rocoft")], tmp_path)
    for record in (frozen, row):
        held = (record.model_memory_mib or 0) + (record.optimizer_state_mib or 0)
        assert record.reserved_memory_mib == pytest.approx(held + 8)
        assert record.mean_memory_mib == pytest.approx(held + 2.5)  # the counted step, one to warm up, two turns
        assert record.seconds_per_step_99 is not None
        assert record.seconds_per_step_99 >= (record.seconds_per_step or 0)
