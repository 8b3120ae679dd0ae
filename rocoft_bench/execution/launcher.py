"""One run by several processes: in the command's process, and in the worker that starts the others."""

import logging
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from rocoft_bench.engine.interrupt import GracefulStop, Interrupted
from rocoft_bench.engine.launchers import OWN_LAUNCH, forget_launchers
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError, reason
from rocoft_bench.execution.channel import GRACE_SECONDS, POLL_SECONDS, Channel, Request
from rocoft_bench.execution.diagnosis import BAD_INPUT, failure_record, first_cause
from rocoft_bench.execution.job import Job, Outcome
from rocoft_bench.execution.launch_options import Launch
from rocoft_bench.execution.run_process import WORKER, RunProcess
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.experiment.run import claimed, execute
from rocoft_bench.runs import Failure, RunDirectory, RunRecord, config_values


def run(
    experiment: Experiment, folder: Path, observer: Observer, force: bool = False, launch: Launch | None = None
) -> tuple[RunRecord, bool]:
    """`experiment.run`, by as many processes as `launch` says.

    A failure in one of them ends the others and is on record, as in the record that is returned.

    Raises:
        UserError: If the input, the model, the folder or the processes cannot be used; nothing is left behind then.
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint; a second Ctrl-C ends the processes at once.
    """
    launch = launch or Launch()
    _check(experiment, launch)
    with claimed(experiment, folder, force, lock=launch.machine_rank == 0) as (directory, finished):
        if finished is not None:
            return finished, False
        if launch.is_alone:
            return execute(experiment, directory, observer, force), True
        return _made_by_all(experiment, directory, observer, force, launch), True


def _check(experiment: Experiment, launch: Launch) -> None:
    """Raises: UserError if these processes cannot be had here, or cannot make this run."""
    launch.check()
    if launch.is_alone:
        return
    distributed_type = launch.distributed_type()
    experiment.method.check_processes(sharded=distributed_type != "MULTI_GPU")
    if distributed_type == "DEEPSPEED" and experiment.config.training.precision == "fp16":
        raise UserError('training.precision = "fp16": not with DeepSpeed; use "bf16" or "fp32"')


def _made_by_all(
    experiment: Experiment, directory: RunDirectory, observer: Observer, force: bool, launch: Launch
) -> RunRecord:
    """The record of a run whose workers this process supervises."""
    config, notes = config_values(experiment.config), list(experiment.notes)
    job = Job(str(directory.path.absolute()), config, notes, sys.argv, launch=launch, force=force)
    with tempfile.TemporaryDirectory(prefix="rocoft-") as place:
        channel = Channel.made_in(Path(place))
        with channel.relay_events(observer):
            outcome = _supervised(RunProcess(job, channel, {}))
    if outcome.status == "ok":
        return directory.read_record()
    if outcome.status == "interrupted":
        raise Interrupted if directory.config.is_file() else KeyboardInterrupt  # the latter: nothing was begun
    return failure_record(job, Failure(outcome.status, outcome.error, outcome.hint))  # type: ignore[arg-type]


def _supervised(process: RunProcess) -> Outcome:
    """The outcome of a run that the first signal ends after its step and a second Ctrl-C at once."""
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(process.execute)
        try:
            with GracefulStop() as stop:
                while not outcome.done():
                    wait([outcome], POLL_SECONDS)
                    if stop.requested:
                        process.channel.ask(Request.STOP)
        except KeyboardInterrupt:
            process.channel.ask(Request.KILL)
        return outcome.result()


def run_by_all(job: Job, channel: Channel) -> RunRecord:
    """In a worker: have more workers make the run, and wait for their end.

    Raises:
        UserError: If the input or the processes cannot be used.
        Interrupted: If this process was told to end.
    """
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    _check(job.experiment, job.launch)
    logging.disable(logging.ERROR)  # the elastic launcher warns of every signal and failure that it passes on
    try:
        _start(job, channel)
    except SignalException:
        raise Interrupted from None
    except ChildFailedError as error:
        rank, failure = first_cause(channel, error.failures)
        failed = error.failures.get(rank)
        if failed is not None and failed.exitcode == BAD_INPUT:
            raise UserError(failure.error) from None
        print(*channel.log_tail(failed.local_rank if failed else 0), sep="\n", flush=True)
        return failure_record(job, failure)
    except (ConnectionError, DistNetworkError, RendezvousError) as error:
        raise UserError(f"the processes cannot meet: {reason(error)}") from error
    finally:
        logging.disable(logging.NOTSET)
    return job.directory.read_record()


def _start(job: Job, channel: Channel) -> None:
    """Start the workers of this machine and wait for their end."""
    import torch
    from accelerate.commands.launch import launch_command, launch_command_parser
    from accelerate.utils import patch_environment
    from torch.distributed import run as torchrun

    launch = job.launch
    forget_launchers()  # the user's: torch and accelerate would read them, and pass them on
    local = (launch.num_processes or torch.cuda.device_count()) // launch.num_machines
    threads = max(1, len(os.sched_getaffinity(0)) // max(1, local))
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)), "PYTHONSAFEPATH": "1"}
    environment[OWN_LAUNCH] = "1"
    if not torch.cuda.is_available():
        environment["ACCELERATE_USE_CPU"] = "true"
    use_accelerate = launch.config_file is not None
    parser = launch_command_parser() if use_accelerate else torchrun.get_args_parser()
    options = _accelerate_options(launch) if use_accelerate else _torchrun_options(launch, local)
    meeting = ["--channel", str(channel.folder), "--parent", str(os.getpid())]
    arguments = parser.parse_args([*options, *WORKER[1:], *meeting, job.as_json()])
    arguments.redirects, arguments.log_dir = "3", str(channel.logs)  # what libraries print goes to files
    arguments.shutdown_timeout, arguments.monitor_interval = GRACE_SECONDS, POLL_SECONDS
    with patch_environment(**environment):
        launch_command(arguments) if use_accelerate else torchrun.run(arguments)


def _torchrun_options(launch: Launch, local: int) -> list[str]:
    options = ["--nproc-per-node", str(local)]
    if launch.num_machines == 1:
        return [*options, "--standalone"]  # any free port
    options += ["--nnodes", str(launch.num_machines), "--node-rank", str(launch.machine_rank)]
    return [*options, "--master-addr", str(launch.main_process_ip), "--master-port", str(launch.main_process_port)]


def _accelerate_options(launch: Launch) -> list[str]:
    port = 0 if launch.main_process_port is None and launch.num_machines == 1 else launch.main_process_port
    given = {
        "config_file": launch.config_file,
        "num_processes": launch.num_processes,
        "num_machines": launch.num_machines,
        "machine_rank": launch.machine_rank,
        "main_process_ip": launch.main_process_ip,
        "main_process_port": port,
        "deepspeed_multinode_launcher": "standard",  # each machine is given its own command
    }
    return [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
