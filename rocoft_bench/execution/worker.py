"""The process of one run of a sweep: events and the log go to its standard output, the result to the run's folder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rocoft_bench.engine.observer import Observer, Sender
from rocoft_bench.engine.warning_filters import silence_library_warnings
from rocoft_bench.errors import UserError
from rocoft_bench.execution.failures import BAD_INPUT
from rocoft_bench.execution.job import Job
from rocoft_bench.execution.orphan import end_with_parent
from rocoft_bench.runs import Failure, RunBusyError, RunDirectory, inherit_lock

INTERRUPTED = 130


def main() -> None:
    """Called by `Child` with the descriptor of the run's lock, the id of the calling process, and the job as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lock", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("job", type=Job.from_json)
    arguments = parser.parse_args()
    end_with_parent(arguments.parent)
    job: Job = arguments.job
    inherit_lock(RunDirectory(Path(job.folder)).lock, arguments.lock)
    sys.argv = list(job.command)  # what provenance.json names
    silence_library_warnings()
    sys.exit(_exit_code(job, Sender(sys.stdout)))


def _exit_code(job: Job, observer: Observer) -> int:
    from rocoft_bench.engine.interrupt import Interrupted

    try:
        return _run(job, observer)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except Interrupted:
        return INTERRUPTED


def _run(job: Job, observer: Observer) -> int:
    from rocoft_bench.engine.tracking import TrackerName, tracked
    from rocoft_bench.execution import launcher
    from rocoft_bench.execution.options import Launch
    from rocoft_bench.experiment.resolve import restored

    experiment, folder = restored(job.config, job.notes), Path(job.folder)
    how = Launch(job.num_processes, config_file=Path(job.config_file) if job.config_file else None)
    tracker = TrackerName(job.track) if job.track else None
    with tracked(observer, tracker, experiment.config, RunDirectory(folder)) as listener:
        record, _ = launcher.run(experiment, folder, listener, launch=how)
    if record.status != "ok":
        print(f"{record.status}: {record.error}", file=sys.stderr)
        return 1
    judged = [_evaluated(folder, task, observer) for task in job.evaluations]
    return 0 if all(judged) else BAD_INPUT


def _evaluated(folder: Path, task: str, observer: Observer) -> bool:
    """Judge the run's model on another task; a failure is put on record and printed."""
    from rocoft_bench.config import Settings, override
    from rocoft_bench.engine.failure import diagnose
    from rocoft_bench.experiment.evaluate import evaluate, record_failed_evaluation

    changes = Settings(override("task.name", task))
    try:
        evaluate(RunDirectory(folder), changes, observer)
    except RunBusyError:
        raise  # who is at it puts on record how it ends
    except Exception as error:
        failure = Failure("failed", str(error)) if isinstance(error, UserError) else diagnose(error)
        if failure.status == "interrupted":
            raise
        record_failed_evaluation(RunDirectory(folder), changes, failure)
        print(f"error: {task}: {failure.error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    main()
