"""What processes of a run tell each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rocoft_bench.engine.observer import Observer
from rocoft_bench.execution.channel import Channel, Request
from rocoft_bench.runs import Failure


class Logged(Observer):
    def __init__(self) -> None:
        self.entries: list[Any] = []

    def logged(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)


def test_events_arrive_in_order_and_past_one_that_a_full_disk_cut_short(tmp_path: Path) -> None:
    channel, observer = Channel.made_in(tmp_path), Logged()
    with channel.relay_events(observer):
        channel.logged({"loss": 1.0})
        with (channel.folder / "events.jsonl").open("a") as stream:
            stream.write('["logged", {"lo\n')
        channel.logged({"loss": float("inf")})
    assert observer.entries == [{"loss": 1.0}, {"loss": float("inf")}]


def test_events_that_cannot_be_sent_harm_nobody(tmp_path: Path) -> None:
    Channel(tmp_path / "gone").step_done(1)


def test_the_last_request_counts_and_takes_no_room_of_a_full_disk(tmp_path: Path) -> None:
    channel = Channel.made_in(tmp_path)
    size = (channel.folder / "request").stat().st_size
    assert channel.request is None
    for request in Request:
        channel.ask(request)
        assert channel.request is request
        assert (channel.folder / "request").stat().st_size == size


def test_failures_come_with_the_rank_of_the_worker_in_their_order(tmp_path: Path) -> None:
    channel = Channel.made_in(tmp_path)
    assert channel.failures() == []
    channel.report_failure(Failure("failed", "of worker 1"), 1)
    channel.report_failure(Failure("oom", "of the run", "smaller"))
    assert channel.failures() == [
        (1, Failure("failed", "of worker 1")),
        (None, Failure("oom", "of the run", "smaller")),
    ]
