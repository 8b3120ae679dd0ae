"""The launching process: it starts the others, waits for them, and says how they ended."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rocoft_bench.engine.launchers import OWN_LAUNCH, forget_launchers
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError, reason
from rocoft_bench.execution.channel import POLL_SECONDS, SHUTDOWN_SECONDS, Exchange, Job
from rocoft_bench.execution.options import Launch
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.experiment.run import claimed, execute
from rocoft_bench.experiment.run_record import make_record
from rocoft_bench.runs import RunDirectory, RunRecord, config_values, write_json

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure


def run(
    experiment: Experiment, folder: Path, observer: Observer, force: bool = False, launch: Launch | None = None
) -> tuple[RunRecord, bool]:
    """`experiment.run`, by as many processes as `launch` says.

    A failure in one of them ends the others and is on record, as in the record that is returned.

    Raises:
        UserError: If the input, the model, the folder or the processes cannot be used; nothing is left behind then.
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint; a second one ends the processes at once.
    """
    launch = launch or Launch()
    launch.check()
    if not launch.is_alone:
        _check_distributed(experiment, launch)
    with claimed(experiment, folder, force, lock=launch.machine_rank == 0) as (directory, finished):
        if finished is not None:
            return finished, False
        if launch.is_alone:
            return execute(experiment, directory, observer, force), True
        return _made_by_all(experiment, directory, observer, force, launch), True


def _check_distributed(experiment: Experiment, launch: Launch) -> None:
    way = launch.way()
    experiment.method.check_processes(sharded=way != "MULTI_GPU")
    if way == "DEEPSPEED" and experiment.config.training.precision == "fp16":
        raise UserError('training.precision = "fp16": not with DeepSpeed; use "bf16" or "fp32"')


def _made_by_all(
    experiment: Experiment, directory: RunDirectory, observer: Observer, force: bool, launch: Launch
) -> RunRecord:
    from torch.distributed import DistNetworkError
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    with tempfile.TemporaryDirectory(prefix="rocoft-") as name:
        exchange = Exchange(Path(name))
        config, notes = config_values(experiment.config), list(experiment.notes)
        job = Job(str(directory.path.absolute()), name, os.getpid(), sys.argv, config, notes, force)
        try:
            with exchange.followed(observer), _quiet_logging(), _ended_by_signals(name):
                _start(launch, exchange, json.dumps(asdict(job)))
        except SignalException:
            return _stopped(directory)
        except ChildFailedError as error:
            return _failed(experiment, directory, exchange, launch, error.failures)
        except (ConnectionError, DistNetworkError, RendezvousError) as error:
            raise UserError(f"the processes cannot meet: {reason(error)}") from error
    return directory.read_record()


def _start(launch: Launch, exchange: Exchange, job: str) -> None:
    """Start the processes of this machine and wait for their end."""
    import torch
    from accelerate.commands.launch import launch_command, launch_command_parser
    from accelerate.utils import patch_environment
    from torch.distributed import run as torchrun

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
    arguments = parser.parse_args([*options, "-m", "rocoft_bench.execution.rank", job])
    arguments.redirects, arguments.log_dir = "3", str(exchange.logs)  # what libraries print goes to files
    arguments.shutdown_timeout, arguments.monitor_interval = SHUTDOWN_SECONDS, POLL_SECONDS
    arguments.signals_to_handle = "SIGHUP"  # the others are handled here
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


def _stopped(directory: RunDirectory) -> RunRecord:
    """After a signal, which the processes have been passed: the record, if they were done anyway."""
    from rocoft_bench.engine.interrupt import Interrupted

    if directory.record.is_file():
        record = directory.read_record()
        if record.status == "ok":
            return record
    if directory.config.is_file():
        raise Interrupted
    raise KeyboardInterrupt  # nothing was begun


def _failed(
    experiment: Experiment,
    directory: RunDirectory,
    exchange: Exchange,
    launch: Launch,
    failures: Mapping[int, ProcessFailure],
) -> RunRecord:
    """The record of a run of which a process failed: the first one's reason, not what the others then met with."""
    from rocoft_bench.engine.interrupt import Interrupted

    rank, reason = _cause(exchange, failures)
    if "user_error" in reason:
        raise UserError(reason["user_error"])
    if reason["status"] == "interrupted":
        raise Interrupted
    local_rank = next((f.local_rank for f in failures.values() if f.local_rank == rank), 0)
    changes = {**reason, "log_tail": exchange.log_tail(local_rank)}
    if launch.num_processes is not None:
        changes["processes"] = launch.num_processes
    if directory.record.is_file():
        record = directory.read_record().model_copy(update=changes)
    else:
        record = make_record(experiment, None, **changes)
    if launch.machine_rank == 0:
        with suppress(OSError):  # a full disk may be what went wrong
            if not directory.config.is_file():
                directory.start(experiment.config)
            write_json(directory.record, record.model_dump())
    return record


def _cause(exchange: Exchange, failures: Mapping[int, ProcessFailure]) -> tuple[int, dict[str, Any]]:
    """The rank of the process that failed first, and why. SIGTERM is how the launcher ends the others after that."""
    told = exchange.first_failure()
    for rank, failure in failures.items():
        of_its_own = told is None or (told[0] != rank and failure.exitcode != -signal.SIGTERM)
        if failure.exitcode < 0 and of_its_own:
            name = signal.Signals(-failure.exitcode).name
            error = f"process {rank} of the run was ended by {name}"
            hint = "somebody, or a system short of memory, ended it; what the last checkpoint holds is not lost"
            return rank, {"status": "crashed", "error": error, "hint": hint}
    if told is not None:
        return told
    rank, failure = next(iter(failures.items()))
    return rank, {"status": "crashed", "error": f"process {rank} of the run ended with exit code {failure.exitcode}"}


@contextmanager
def _ended_by_signals(exchange: str) -> Iterator[None]:
    """The first SIGINT or SIGTERM is passed on by the elastic launcher, and a second one ends the processes at once."""
    from torch.distributed.elastic.multiprocessing.api import SignalException

    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1:
            return _kill_ranks(exchange)
        raise SignalException(f"signal {number}", signal.Signals(number))

    handlers = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        handlers[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)  # the elastic launcher's, which leaves it set
    try:
        yield
    finally:
        _kill_ranks(exchange)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _kill_ranks(exchange: str) -> None:
    """End at once what is left of the processes that were given this folder."""
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(exchange in argument for argument in child.cmdline()):
                child.kill()


@contextmanager
def _quiet_logging() -> Iterator[None]:
    """The elastic launcher warns of every signal and failure that it passes on."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
