"""One of the processes that make a run together: `python -m rocoft_bench.execution.rank JOB`."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from rocoft_bench.engine.observer import Observer, Sender
from rocoft_bench.engine.warning_filters import silence_library_warnings
from rocoft_bench.errors import UserError
from rocoft_bench.execution.channel import SHUTDOWN_SECONDS, Exchange, Job
from rocoft_bench.execution.orphan import end_with_parent
from rocoft_bench.experiment.resolve import restored
from rocoft_bench.experiment.run import execute
from rocoft_bench.runs import RunDirectory, RunRecord

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130
"""Exit codes."""


def main() -> None:
    """The job is the only argument."""
    job = Job(**json.loads(sys.argv[1]))
    end_with_parent(job.parent, SHUTDOWN_SECONDS)
    sys.argv = list(job.command)  # what provenance.json names
    silence_library_warnings()
    code = _take_part(job)
    if code:  # without what libraries do at exit: that may wait for the other processes
        sys.stderr.flush()
        os._exit(code)


def _take_part(job: Job) -> int:
    """Make the run together with the others; the exit code."""
    from rocoft_bench.engine.failure import diagnose

    rank, exchange = int(os.environ["RANK"]), Exchange(Path(job.exchange))
    try:
        record = _record_of(job, exchange)
    except UserError as error:
        exchange.tell(rank, {"user_error": str(error)})
        return BAD_INPUT
    except BaseException as error:
        failure = diagnose(error)
        exchange.tell(rank, failure._asdict())
        traceback.print_exc()
        return INTERRUPTED if failure.status == "interrupted" else FAILED
    if record.status != "ok":
        exchange.tell(rank, {"status": record.status, "error": record.error, "hint": record.hint})
        return FAILED
    return 0


def _record_of(job: Job, exchange: Exchange) -> RunRecord:
    from accelerate import PartialState

    from rocoft_bench.engine.processes import Processes

    processes = Processes.joined()
    if processes.is_main:
        RunDirectory(Path(job.folder)).join()
    with exchange.events.open("a", encoding="utf-8") as stream:
        observer = Sender(stream) if processes.is_main else Observer()
        record = execute(
            restored(job.config, job.notes), RunDirectory(Path(job.folder)), observer, job.force, processes
        )
    PartialState().destroy_process_group()
    return record


if __name__ == "__main__":
    main()
