"""How a machine's GPUs, cores and memory are shared among runs."""

from __future__ import annotations

import pytest

from rocoft_bench.errors import UserError
from rocoft_bench.execution import executor
from rocoft_bench.execution.executor import Demand, LocalExecutor, local_executor, visible_gpus


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores, 10,000 MiB of free memory, no GPU."""
    monkeypatch.setattr(executor, "available_cores", lambda: 8)
    monkeypatch.setattr(executor, "available_memory_mib", lambda: 10_000.0)
    monkeypatch.setattr(executor, "visible_gpus", list)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def shares(made: LocalExecutor) -> list[dict[str, str]]:
    """The environment of each run at a time."""
    made.close()
    return [dict(made._free.get()) for _ in range(made.slots)]


@pytest.mark.parametrize(
    ("to_do", "jobs", "processes", "largest_mib", "slots", "threads"),
    [
        (100, None, 1, None, 8, "1"),  # one per core
        (100, None, 1, 2_000.0, 4, "2"),  # 9,000 MiB are for four of them
        (100, None, 1, 50_000.0, 1, "8"),
        (3, None, 1, None, 3, "2"),
        (100, 2, 1, 50_000.0, 2, "4"),  # as the user says
        (100, None, 4, None, 2, "1"),
    ],
)
def test_without_gpus_as_many_as_cores_and_memory_allow(
    to_do: int, jobs: int | None, processes: int, largest_mib: float | None, slots: int, threads: str
) -> None:
    made = local_executor(Demand(to_do, jobs, processes, largest_mib))
    assert shares(made) == [{"OMP_NUM_THREADS": threads}] * slots


def test_a_number_of_threads_that_is_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert shares(local_executor(Demand(2, None, 1, None))) == [{}, {}]


@pytest.mark.parametrize(
    ("jobs", "processes", "devices"),
    [
        (None, 1, ["4", "5", "6"]),
        (None, 2, ["4,5"]),
        (4, 1, ["4", "5", "6", "4"]),
        (2, 3, ["4,5,6", "4,5,6"]),
    ],
)
def test_gpus_in_turn(monkeypatch: pytest.MonkeyPatch, jobs: int | None, processes: int, devices: list[str]) -> None:
    monkeypatch.setattr(executor, "visible_gpus", lambda: ["4", "5", "6"])
    made = shares(local_executor(Demand(100, jobs, processes, 50_000.0)))
    assert [share["CUDA_VISIBLE_DEVICES"] for share in made] == devices


def test_more_gpus_per_run_than_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "visible_gpus", lambda: ["0", "1"])
    with pytest.raises(UserError, match="--num-processes 3: there are 2 GPUs"):
        local_executor(Demand(1, None, 3, None))


@pytest.mark.parametrize(
    ("given", "expected"), [("0,2", ["0", "2"]), ("", []), ("-1", []), ("GPU-8f, MIG-1", ["GPU-8f", "MIG-1"])]
)
def test_visible_gpus_are_those_that_the_environment_leaves(
    monkeypatch: pytest.MonkeyPatch, given: str, expected: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == expected
