"""Which signals ask a run to stop, and what a second one does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from rocoft_bench.engine.interrupt import GracefulStop


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal at which this process does nothing but what a test installs."""
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_asks_to_stop(number: signal.Signals) -> None:
    with GracefulStop() as stop:
        os.kill(os.getpid(), number)
        assert stop.requested
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_second_one_acts_as_usual_unless_it_is_of_the_same_terminal(number: signal.Signals) -> None:
    seen: list[int] = []
    signal.signal(number, lambda *_: seen.append(1))
    with GracefulStop():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)
        assert len(seen) == (0 if number == signal.SIGHUP else 1)


def test_nohup_stays_in_force() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with GracefulStop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
    finally:
        signal.signal(signal.SIGHUP, before)
