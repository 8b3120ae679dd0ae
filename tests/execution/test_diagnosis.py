"""Which of the processes of a run failed first."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rocoft_bench.execution.channel import Channel
from rocoft_bench.execution.diagnosis import first_cause
from rocoft_bench.runs import Failure

REPORTED = Failure("failed", "reported by process 0")


@pytest.mark.parametrize(
    ("exit_codes", "reported", "rank", "error"),
    [
        ({0: 2, 1: -signal.SIGTERM}, True, 0, "reported by process 0"),  # the launcher ended process 1
        ({1: -signal.SIGKILL, 0: 1}, True, 1, "process 1 of the run was ended by SIGKILL"),  # process 0 then lost it
        ({1: -signal.SIGTERM}, False, 1, "process 1 of the run was ended by SIGTERM"),
        ({1: 7}, False, 1, "process 1 of the run ended with exit code 7"),
    ],
)
def test_the_first_failure_is_the_cause(
    tmp_path: Path, exit_codes: dict[int, int], reported: bool, rank: int, error: str
) -> None:
    channel = Channel(tmp_path)
    if reported:
        channel.report_failure(REPORTED, 0)
    failures: Any = {number: SimpleNamespace(exitcode=code) for number, code in exit_codes.items()}
    found, reason = first_cause(channel, failures)
    assert (found, reason.error) == (rank, error)
