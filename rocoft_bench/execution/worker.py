"""The process that makes a run: `python -m rocoft_bench.execution.worker --channel FOLDER --parent PID JOB`.

Alone, or as one of several that torch's or accelerate's launcher has started. For a job of several, the worker that has
not been started so is the one that starts them.
"""

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from rocoft_bench.engine.launchers import OWN_LAUNCH
from rocoft_bench.engine.observer import Observer, Several
from rocoft_bench.engine.warning_filters import silence_library_warnings
from rocoft_bench.errors import UserError
from rocoft_bench.execution.channel import GRACE_SECONDS, Channel
from rocoft_bench.execution.diagnosis import BAD_INPUT, FAILED, INTERRUPTED, TO_MEND
from rocoft_bench.execution.job import Job
from rocoft_bench.runs import Failure, RunBusyError, RunRecord

PARENT_POLL_SECONDS = 0.5


def main() -> None:
    """What the worker prints is the run's log."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--channel", type=lambda folder: Channel(Path(folder)), required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("job", type=Job.from_json)
    arguments = parser.parse_args()
    job: Job = arguments.job
    rank = int(os.environ["RANK"]) if OWN_LAUNCH in os.environ else None
    if rank == 0 or (rank is None and job.launch.is_alone):
        job.directory.join()
    threading.Thread(target=end_with_parent, args=(arguments.parent,), daemon=True).start()
    sys.argv = list(job.command)  # what provenance.json names
    silence_library_warnings()
    code = _exit_code(job, arguments.channel, rank)
    if code:  # without what libraries do at exit: that may wait for the other processes
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end_with_parent(parent: int) -> None:
    """When the process that started this one is gone, however it went, end this one too: with SIGTERM, at which a run
    writes a checkpoint, or else at once.
    """
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(FAILED)


def _exit_code(job: Job, channel: Channel, rank: int | None) -> int:
    """Make the run and say through the channel if it failed."""
    from rocoft_bench.engine.failure import diagnose

    try:
        failure, code = _run(job, channel, rank), FAILED
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        failure, code = Failure("failed", str(error), TO_MEND), BAD_INPUT
    except BaseException as error:
        failure, code = diagnose(error), FAILED
        if failure.status == "interrupted":
            code = INTERRUPTED
        else:
            traceback.print_exc()
    if failure is None:
        return 0
    channel.report_failure(failure, rank)
    return code


def _run(job: Job, channel: Channel, rank: int | None) -> Failure | None:
    """Make the run or a share of it, and evaluate its model on further tasks."""
    record = _train(job, channel, rank) if rank is not None else _claimed_run(job, channel)
    if record.status != "ok":
        return Failure(record.status, record.error or "", record.hint)
    if rank is not None or not job.evaluations:
        return None
    if not job.launch.is_alone:
        job.directory.join()  # the workers that held it have ended
    failures = [_evaluate(job, task, channel) for task in job.evaluations]
    return next(filter(None, failures), None)


def _claimed_run(job: Job, channel: Channel) -> RunRecord:
    from rocoft_bench.execution.launcher import run_by_all
    from rocoft_bench.experiment.run import claimed

    with claimed(job.experiment, job.directory.path, job.force, lock=False) as (_, finished):
        return finished or (_train(job, channel) if job.launch.is_alone else run_by_all(job, channel))


def _train(job: Job, channel: Channel, rank: int | None = None) -> RunRecord:
    from accelerate import PartialState

    from rocoft_bench.engine.processes import Processes
    from rocoft_bench.engine.tracking import TrackerName, tracked
    from rocoft_bench.experiment.run import execute

    experiment, directory = job.experiment, job.directory
    processes = Processes() if rank is None else Processes.joined()
    tracker = TrackerName(job.track) if job.track and processes.is_main else None
    heard = channel if processes.is_main else Observer()
    with tracked(Several(StopsOnce(), heard), tracker, experiment.config, directory) as observer:
        record = execute(experiment, directory, observer, job.force, processes)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if rank is not None:
        PartialState().destroy_process_group()
    return record


class StopsOnce(Observer):
    """From its first step on, the run ends by itself when it is told to. Another SIGTERM must not end the process while
    it writes what remains: of several workers, one may learn of the end from another before it is told itself.
    """

    def training_started(self, total_steps: int, done_steps: int) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _evaluate(job: Job, task: str, channel: Channel) -> Failure | None:
    """Evaluate the run's model on another task; a failure is put on record and printed."""
    from rocoft_bench.config import Settings, override
    from rocoft_bench.engine.failure import diagnose
    from rocoft_bench.engine.interrupt import Interrupted
    from rocoft_bench.experiment.evaluate import evaluate, record_failed_evaluation

    if channel.request:  # it came while SIGTERM was not heard
        raise Interrupted
    changes = Settings(override("task.name", task))
    try:
        evaluate(job.directory, changes, channel)
        return None
    except RunBusyError:
        raise  # who is at it puts on record how it ends
    except Exception as error:
        failure = Failure("failed", str(error), TO_MEND) if isinstance(error, UserError) else diagnose(error)
        if failure.status == "interrupted":
            raise
        record_failed_evaluation(job.directory, changes, failure)
        print(f"error: {task}: {failure.error}", file=sys.stderr)
        return failure._replace(error=f"{task}: {failure.error}")


if __name__ == "__main__":
    main()
