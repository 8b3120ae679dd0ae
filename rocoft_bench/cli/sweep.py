"""`rocoft sweep`: many runs."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli.console import complain, say
from rocoft_bench.cli.ntk import carry_out, groups_of
from rocoft_bench.cli.options import Plugins, a_folder, a_setting, app
from rocoft_bench.config import Sweep, find_config, parse_filter, read_settings, read_sweep, resolve_config_path
from rocoft_bench.engine.tracking import TrackerName, check_installed
from rocoft_bench.errors import UserError
from rocoft_bench.runs import RunDirectory

if TYPE_CHECKING:
    from rocoft_bench.execution.executor import Demand, Executor
    from rocoft_bench.execution.job import Outcome
    from rocoft_bench.execution.launch_options import Launch
    from rocoft_bench.sweep.plan import Plan, PlannedRun

EPILOG = """Examples:

  rocoft sweep configs/llama2.yaml --dry-run

  rocoft sweep table1_roberta_base.yaml --filter method=lora,task=rte

  rocoft sweep table1_roberta_base.yaml --retry-failed --set training.batch_size=16

  rocoft sweep table1_roberta_base.yaml --executor slurm --partition gpu --sbatch account=nlp
"""


ExecutorName = StrEnum("ExecutorName", ["local", "ray", "slurm"])
Filters = Annotated[
    list[str] | None, typer.Option("--filter", metavar="KEY=VALUE,…", help="Only such runs, e.g. method=lora,task=rte.")
]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Runs at a time; default: one per GPU, or as cores and memory allow.")
]
AccelerateFile = Annotated[
    Path | None, typer.Option(help="YAML file of accelerate for each run, e.g. configs/accelerate/fsdp.yaml.")
]
Where = Annotated[
    ExecutorName,
    typer.Option(help="This machine, a Ray cluster, or Slurm, with a job for each run (extras `ray`, `slurm`)."),
]
Track = Annotated[TrackerName | None, typer.Option(help="Show the runs' curves in this tracker (an extra each).")]
Sbatch = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Slurm: an option of sbatch, e.g. account=nlp.")
]


@app.command(epilog=EPILOG)
def sweep(
    file: Annotated[str, typer.Argument(help="Sweep file, also by its path below the shipped configs/.")],
    output: Annotated[Path, a_folder(help="Folder of all runs, each in a folder by its settings.")] = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and run nothing.")] = False,
    filters: Filters = None,
    assignments: Annotated[list[str] | None, a_setting(help="A setting for all runs.")] = None,
    jobs: Jobs = None,
    max_runs: Annotated[int | None, typer.Option(min=1, help="Start so many runs at most.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what failed before.")] = False,
    stop_on_error: Annotated[bool, typer.Option("--stop-on-error", help="Start no run after one failed.")] = False,
    timeout_minutes: Annotated[float | None, typer.Option(help="End a run that takes longer.")] = None,
    num_processes: Annotated[int, typer.Option(min=1, help="Processes, or GPUs, that share each run.")] = 1,
    config_file: AccelerateFile = None,
    executor: Where = ExecutorName.local,
    track: Track = None,
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; default: RAY_ADDRESS, or auto.")] = None,
    partition: Annotated[str | None, typer.Option(help="Of Slurm; default: the cluster's.")] = None,
    sbatch: Sbatch = None,
    plugins: Plugins = None,
) -> None:
    """Make all runs of a sweep file, each in a process of its own.

    What is finished is skipped, whatever fails leaves a record that says why, and the same command resumes after any
    interruption. Two sweeps may share a folder: no run is done twice.
    """
    from rocoft_bench.cli.sweep_view import LiveView, closing_lines, plan_lines
    from rocoft_bench.sweep.phases import phases
    from rocoft_bench.sweep.plan import PlannedRun
    from rocoft_bench.sweep.runner import Runner

    _check_options(track, timeout_minutes)
    make_executor = _factory(executor, address, partition, sbatch)
    of_runs = {"--filter": filters, "--jobs": jobs, "--max-runs": max_runs, "--timeout-minutes": timeout_minutes}
    content = _read(file, output, assignments or [], dry_run, [name for name, value in of_runs.items() if value])
    launch = _launch(num_processes, config_file)
    seconds = None if timeout_minutes is None else 60 * timeout_minutes
    make_job = partial(PlannedRun.job, command=sys.argv, timeout_seconds=seconds, launch=launch, track=track)
    code = 0
    for phase in phases(content, output, parse_filter(*(filters or [])), assignments or [], write=not dry_run):
        plan, to_do = phase.plan, phase.plan.to_do(retry_failed)
        say("\n".join([*phase.lines, *plan_lines(plan, to_do)]))
        code |= int(phase.without_choice > 0)
        if dry_run or not plan.runs:
            code |= int(bool(plan.invalid))
            continue
        available = _available(to_do, num_processes > 1, config_file is not None)
        _begin(plan, output, content.path, launch if executor is ExecutorName.local else None)
        workers = _executor(make_executor, output, available, jobs, num_processes)
        with LiveView(plan, available, workers.slots, max_runs) as view:
            runner = Runner(available, workers, view, make_job, max_runs, stop_on_error)
            runner.run()
        say("\n".join(closing_lines(plan, to_do, runner.outcomes)))
        code |= _exit_code(plan, runner.outcomes, lacking=len(to_do) - len(available))
        if runner.stopped or (code and stop_on_error):
            raise typer.Exit(130 if runner.stopped else code)
        max_runs = max_runs and max_runs - sum(outcome.status != "elsewhere" for _, outcome in runner.outcomes)
    raise typer.Exit(code)


def _read(file: str, output: Path, assignments: list[str], dry_run: bool, of_runs: list[str]) -> Sweep:
    """The sweep of a file. Of a file of kernels, the analyses are made, one task after the other, and that is all: the
    draws of a task share their passes.

    of_runs: options that were given and are for runs only.

    Raises: UserError.
    """
    from rocoft_bench.efficiency.bench_settings import is_of_benches
    from rocoft_bench.ntk.kernel_settings import is_of_kernels

    path = find_config(file)
    if is_of_kernels(read_settings(path)):
        if of_runs:
            raise UserError(f"{of_runs[0]}: is for runs, and {path} is of kernel analyses; see rocoft ntk --help")
        carry_out(groups_of(path, {}, assignments), output, dry_run)
        raise typer.Exit
    if is_of_benches(read_settings(path)):
        raise UserError(f"{file}: is of benches: rocoft bench {file}")
    sweep = read_sweep(path)
    if sweep is None:
        raise UserError(f"{file}: has no axes, so it is one run: rocoft train FAMILY --config {file}")
    return sweep


def _check_options(track: TrackerName | None, timeout_minutes: float | None) -> None:
    """Raises: UserError."""
    check_installed(track)
    if timeout_minutes is not None and not 0 < timeout_minutes < math.inf:
        raise UserError(f"--timeout-minutes {timeout_minutes}: must be a number above 0")


def _factory(
    name: ExecutorName, address: str | None, partition: str | None, sbatch: list[str] | None
) -> Callable[[Demand, Path], Executor]:
    """What makes the executor. Raises: UserError if an option is for another one, or not KEY=VALUE."""
    from rocoft_bench.execution.executor import local_executor

    options = {"--address": address, "--partition": partition, "--sbatch": sbatch}
    for option, value in options.items():
        owner = ExecutorName.ray if option == "--address" else ExecutorName.slurm
        if value is not None and name is not owner:
            raise UserError(f"{option}: is for --executor {owner}")
    if name is ExecutorName.ray:
        from rocoft_bench.execution.ray_executor import ray_executor

        return partial(ray_executor, address=address)
    if name is ExecutorName.slurm:
        from rocoft_bench.execution.slurm_executor import sbatch_options, slurm_executor

        return partial(slurm_executor, partition=partition, options=sbatch_options(sbatch or []))
    return lambda demand, output: local_executor(demand)


def _launch(num_processes: int, config_file: Path | None) -> Launch:
    """How each run is shared. Raises: UserError if the file is not one of accelerate."""
    from rocoft_bench.execution.launch_options import Launch

    if config_file is None:
        return Launch(num_processes)
    launch = Launch(num_processes, config_file=str(resolve_config_path(config_file).absolute()))
    launch.distributed_type()
    return launch


def _begin(plan: Plan, output: Path, sweep_file: Path, launch: Launch | None) -> None:
    """Put the invalid runs on record. launch: on this machine. Raises: UserError if nothing could be run or written."""
    from rocoft_bench.sweep.invalid_runs import record_invalid

    RunDirectory(output).check_writable()
    if launch is not None and not launch.is_alone:
        launch.check()
    record_invalid(plan.invalid, output, sweep_file)


def _available(to_do: list[PlannedRun], shared: bool, sharded: bool) -> list[PlannedRun]:
    """The runs that can start; the others are counted by what keeps them from it. Raises: UserError if none is left."""
    from rocoft_bench.prefetch.needs import unavailable
    from rocoft_bench.sweep.plan import refusals

    lacking = refusals(to_do, sharded) if shared else {}
    lacking |= unavailable({run.name: (run.experiment, *run.evaluations) for run in to_do})
    reasons = [f"{count} runs cannot start: {reason}" for reason, count in Counter(lacking.values()).items()]
    if lacking and len(lacking) == len(to_do):
        raise UserError("\n".join(reasons))
    for reason in reasons:
        complain(reason)
    return [run for run in to_do if run.name not in lacking]


def _executor(
    make: Callable[[Demand, Path], Executor], output: Path, to_do: list[PlannedRun], jobs: int | None, processes: int
) -> Executor:
    from rocoft_bench.execution.executor import Demand, local_executor

    largest = max((run.memory_mib for run in to_do if run.memory_mib is not None), default=None)
    demand = Demand(len(to_do), jobs, processes, largest)
    return make(demand, output) if to_do else local_executor(demand)


def _exit_code(plan: Plan, outcomes: list[tuple[PlannedRun, Outcome]], lacking: int) -> int:
    """1 if the sweep has runs without a result that it will not start by itself again."""
    from rocoft_bench.sweep.plan import State

    tried = {run.name for run, _ in outcomes}
    still_failed = [run for run in plan.in_state(State.FAILED) if run.name not in tried]
    unfinished = any(outcome.status not in ("ok", "elsewhere") for _, outcome in outcomes)
    return int(bool(plan.invalid or still_failed or lacking or unfinished))
