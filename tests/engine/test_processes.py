"""Examples shared among processes: who has which, and that two compute what one does, the model sharded or not."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.multiprocessing import start_processes

from rocoft_bench.engine.batching import shared
from rocoft_bench.engine.processes import Processes
from tests import preloaded
from tests.engine.comparison import assert_same
from tests.engine.shared_runs import train_on_rank


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9), processes=st.integers(1, 6))
def test_every_row_of_a_step_is_computed_once_and_no_pass_grows(sizes: list[int], processes: int) -> None:
    numbers = iter(range(100))
    passes = [[next(numbers) for _ in range(size)] for size in sizes]
    shares = shared(passes, processes)
    assert len(shares) == processes
    assert len({len(share) for share in shares}) == 1
    assert sorted(row for share in shares for rows in share for row in rows) == list(range(sum(sizes)))
    assert max(len(rows) for share in shares for rows in share) <= max(sizes)
    assert len(shares[0]) == -(-len(sizes) // processes)


@given(size=st.integers(1, 9), count=st.integers(1, 9), processes=st.integers(1, 6))
def test_passes_of_one_size_make_equal_shares(size: int, count: int, processes: int) -> None:
    shares = shared([[0] * size] * count, processes)
    own = [sum(map(len, share)) for share in shares]
    assert max(own) - min(own) <= 1


def test_one_process_has_the_passes_as_they_are() -> None:
    assert shared([[3, 1], [2]], 1) == [[[3, 1], [2]]]


def test_one_process_has_nobody_to_talk_to() -> None:
    alone = Processes()
    assert (alone.count, alone.index, alone.is_main) == (1, 0, True)
    assert (alone.sum(3), alone.any(False, True)) == (3, (False, True))
    assert alone.gather("x") == ["x"]
    assert alone.from_main("x") == "x"
    alone.wait()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What `shared_runs.py` finds, by the number of processes."""
    results = {}
    for count in (1, 2):
        folder = tmp_path_factory.mktemp(f"processes{count}")
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        start_processes(train_on_rank, (count, port, folder), nprocs=count, start_method=preloaded.METHOD)
        results[count] = json.loads((folder / "found.json").read_text())
    return results


@pytest.mark.parametrize("run", ["accumulation 1", "accumulation 2", "accumulation 3", "sharded row", "sharded column"])
def test_two_processes_train_as_one(found: dict[int, dict[str, Any]], run: str) -> None:
    """13 rows in batches of 4: the last has one row, so that one process has none; tokens, not rows, have a loss."""
    assert_same(found[2][run], found[1][run])


@pytest.mark.parametrize("run", ["sharded row", "sharded column"])
def test_a_sharded_base_stays_sharded(found: dict[int, dict[str, Any]], run: str) -> None:
    """And what is trained is whole in the end, so that it can be saved."""
    assert found[2][run]["own_share"] < 0.6
    assert found[2][run]["frozen_stay_shared"]
    assert not found[1][run]["frozen_stay_shared"]
