"""Which of the processes of a run failed first."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rocoft_bench.execution.channel import Exchange
from rocoft_bench.execution.launcher import _cause

TOLD = {"status": "failed", "error": "told by process 0", "hint": None}


@pytest.mark.parametrize(
    ("exit_codes", "told", "rank", "error"),
    [
        ({0: 2, 1: -signal.SIGTERM}, True, 0, "told by process 0"),  # the launcher ended process 1
        ({1: -signal.SIGKILL, 0: 1}, True, 1, "process 1 of the run was ended by SIGKILL"),  # process 0 then lost it
        ({1: -signal.SIGTERM}, False, 1, "process 1 of the run was ended by SIGTERM"),
        ({1: 7}, False, 1, "process 1 of the run ended with exit code 7"),
    ],
)
def test_the_first_failure_is_the_cause(
    tmp_path: Path, exit_codes: dict[int, int], told: bool, rank: int, error: str
) -> None:
    exchange = Exchange(tmp_path)
    if told:
        exchange.tell(0, TOLD)
    failures: Any = {number: SimpleNamespace(exitcode=code) for number, code in exit_codes.items()}
    found, reason = _cause(exchange, failures)
    assert (found, reason["error"]) == (rank, error)
