"""`rocoft sweep`: many runs."""

from __future__ import annotations

import math
import sys
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli.console import complain, say
from rocoft_bench.cli.options import AS_FOLDER, Plugins
from rocoft_bench.engine.tracking import TrackerName

if TYPE_CHECKING:
    from rocoft_bench.execution.executor import Executor
    from rocoft_bench.execution.job import Job, Outcome
    from rocoft_bench.execution.launch_options import Launch
    from rocoft_bench.sweep.plan import Plan, PlannedRun

EPILOG = """Examples:

  rocoft sweep configs/llama2.yaml --dry-run

  rocoft sweep table1_roberta_base.yaml --filter method=lora,task=rte

  rocoft sweep table1_roberta_base.yaml --retry-failed --set training.batch_size=16

  rocoft sweep table1_roberta_base.yaml --executor slurm --partition gpu --sbatch account=nlp
"""


class ExecutorName(StrEnum):
    local = "local"
    ray = "ray"
    slurm = "slurm"


def register(app: typer.Typer) -> None:
    app.command("sweep", epilog=EPILOG)(sweep)


def sweep(
    file: Annotated[str, typer.Argument(help="Sweep file, also by its path below the shipped configs/.")],
    output: Annotated[
        Path, typer.Option(help="Folder of all runs, each in a folder by its settings.", **AS_FOLDER)
    ] = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and run nothing.")] = False,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE,…", help="Only such runs, e.g. method=lora,task=rte."),
    ] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting for all runs.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; default: one per GPU, or as cores and memory allow.")
    ] = None,
    max_runs: Annotated[int | None, typer.Option(min=1, help="Start so many runs at most.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what failed before.")] = False,
    stop_on_error: Annotated[bool, typer.Option("--stop-on-error", help="Start no run after one failed.")] = False,
    timeout_minutes: Annotated[float | None, typer.Option(help="End a run that takes longer.")] = None,
    num_processes: Annotated[int, typer.Option(min=1, help="Processes, or GPUs, that share each run.")] = 1,
    config_file: Annotated[
        Path | None, typer.Option(help="YAML file of accelerate for each run, e.g. configs/accelerate/fsdp.yaml.")
    ] = None,
    executor: Annotated[
        ExecutorName,
        typer.Option(help="This machine, a Ray cluster, or Slurm, with a job for each run (extras `ray`, `slurm`)."),
    ] = ExecutorName.local,
    track: Annotated[
        TrackerName | None, typer.Option(help="Show the runs' curves in this tracker (an extra each).")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster; default: RAY_ADDRESS, or auto.")] = None,
    partition: Annotated[str | None, typer.Option(help="Of Slurm; default: the cluster's.")] = None,
    sbatch: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Slurm: an option of sbatch, e.g. account=nlp.")
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Make all runs of a sweep file, each in a process of its own.

    What is finished is skipped, whatever fails leaves a record that says why, and the same command resumes after any
    interruption. Two sweeps may share a folder: no run is done twice.
    """
    from rocoft_bench.cli.sweep_view import LiveView, closing_lines, plan_lines
    from rocoft_bench.config import find_config, parse_filter, read_settings, read_sweep
    from rocoft_bench.errors import UserError
    from rocoft_bench.ntk.kernel_settings import is_of_kernels
    from rocoft_bench.runs import RunDirectory
    from rocoft_bench.sweep.invalid_runs import record_invalid
    from rocoft_bench.sweep.plan import make_plan
    from rocoft_bench.sweep.runner import Runner

    _check_options(track, timeout_minutes)
    options = _sbatch_options(sbatch or [])
    _check_executor(executor, {"--address": address, "--partition": partition, "--sbatch": sbatch})
    path = find_config(file)
    if is_of_kernels(read_settings(path)):
        others = {"--filter": filters, "--jobs": jobs, "--max-runs": max_runs, "--timeout-minutes": timeout_minutes}
        _kernels(path, output, assignments or [], dry_run, [name for name, value in others.items() if value])
        return
    content = read_sweep(path)
    if content is None:
        raise UserError(f"{file}: has no axes, so it is one run: rocoft train FAMILY --config {file}")
    launch = _launch(num_processes, config_file)
    plan = make_plan(content, output, parse_filter(*(filters or [])), assignments or [])
    to_do = plan.to_do(retry_failed)
    say("\n".join(plan_lines(plan, to_do)))
    if dry_run:
        raise typer.Exit(1 if plan.invalid else 0)
    RunDirectory(output).check_writable()
    if executor is ExecutorName.local and not launch.is_alone:
        launch.check()
    record_invalid(plan.invalid, output, content.path)
    available = _available(to_do, num_processes > 1, config_file is not None)
    workers = _executor(executor, address, partition, options, output, available, jobs, num_processes)

    def make_job(run: PlannedRun) -> Job:
        seconds = None if timeout_minutes is None else 60 * timeout_minutes
        return run.job(sys.argv, timeout_seconds=seconds, launch=launch, track=track)

    with LiveView(plan, available, workers.slots, max_runs) as view:
        runner = Runner(available, workers, view, make_job, max_runs, stop_on_error)
        outcomes = runner.run()
    say("\n".join(closing_lines(plan, to_do, outcomes)))
    raise typer.Exit(_exit_code(plan, outcomes, runner.stopped, lacking=len(to_do) - len(available)))


def _kernels(file: Path, output: Path, assignments: list[str], dry_run: bool, others: list[str]) -> None:
    """The analyses of a file of kernels, one task after the other: the draws of a task share their passes.

    Raises: UserError if it was given options that are for runs.
    """
    from rocoft_bench.cli.ntk import carry_out, groups_of
    from rocoft_bench.errors import UserError

    if others:
        raise UserError(f"{others[0]}: is for runs, and {file} is of kernel analyses; see rocoft ntk --help")
    carry_out(groups_of(file, {}, assignments), output, dry_run)


def _check_options(track: TrackerName | None, timeout_minutes: float | None) -> None:
    """Raises: UserError."""
    from rocoft_bench.engine.tracking import check_installed
    from rocoft_bench.errors import UserError

    check_installed(track)
    if timeout_minutes is not None and not 0 < timeout_minutes < math.inf:
        raise UserError(f"--timeout-minutes {timeout_minutes}: must be a number above 0")


def _check_executor(executor: ExecutorName, options: dict[str, object]) -> None:
    """Raises: UserError if an option is for another executor."""
    from rocoft_bench.errors import UserError

    for name, value in options.items():
        owner = ExecutorName.ray if name == "--address" else ExecutorName.slurm
        if value is not None and executor is not owner:
            raise UserError(f"{name}: is for --executor {owner}")


def _sbatch_options(texts: list[str]) -> dict[str, str]:
    """Raises: UserError if one is not KEY=VALUE."""
    from rocoft_bench.errors import UserError

    pairs = [text.partition("=") for text in texts]
    for text, (key, _, value) in zip(texts, pairs, strict=True):
        if not key or not value:
            raise UserError(f"--sbatch {text}: must be KEY=VALUE, as sbatch has it: account=nlp")
    return {key.lstrip("-").replace("-", "_"): value for key, _, value in pairs}


def _launch(num_processes: int, config_file: Path | None) -> Launch:
    """How each run is shared. Raises: UserError if the file is not one of accelerate."""
    from rocoft_bench.config import resolve_config_path
    from rocoft_bench.execution.launch_options import Launch

    if config_file is None:
        return Launch(num_processes)
    launch = Launch(num_processes, config_file=str(resolve_config_path(config_file).absolute()))
    launch.distributed_type()
    return launch


def _available(to_do: list[PlannedRun], shared: bool, sharded: bool) -> list[PlannedRun]:
    """The runs that can start; the others are counted by what keeps them from it.

    Raises:
        UserError: If none is left.
    """
    from rocoft_bench.errors import UserError
    from rocoft_bench.sweep.availability import unavailable

    lacking = unavailable(to_do, shared, sharded)
    reasons = [f"{count} runs cannot start: {reason}" for reason, count in Counter(lacking.values()).items()]
    if lacking and len(lacking) == len(to_do):
        raise UserError("\n".join(reasons))
    for reason in reasons:
        complain(reason)
    return [run for run in to_do if run.name not in lacking]


def _executor(
    name: ExecutorName,
    address: str | None,
    partition: str | None,
    sbatch: dict[str, str],
    output: Path,
    to_do: list[PlannedRun],
    jobs: int | None,
    per_run: int,
) -> Executor:
    largest = max((run.memory_mib for run in to_do if run.memory_mib is not None), default=None)
    if name is ExecutorName.ray and to_do:
        from rocoft_bench.execution.ray_executor import ray_executor

        return ray_executor(address, output, len(to_do), jobs, per_run, largest)
    if name is ExecutorName.slurm and to_do:
        from rocoft_bench.execution.slurm_executor import slurm_executor

        return slurm_executor(output, len(to_do), jobs, per_run, partition, sbatch)
    from rocoft_bench.execution.executor import local_executor

    return local_executor(len(to_do), jobs, per_run, largest)


def _exit_code(plan: Plan, outcomes: list[tuple[PlannedRun, Outcome]], stopped: bool, lacking: int) -> int:
    """130 after Ctrl-C, 1 if the sweep has runs without a result that it will not start by itself again."""
    from rocoft_bench.sweep.plan import State

    if stopped:
        return 130
    tried = {run.name for run, _ in outcomes}
    still_failed = [run for run in plan.in_state(State.FAILED) if run.name not in tried]
    unfinished = any(outcome.status not in ("ok", "elsewhere") for _, outcome in outcomes)
    return int(bool(plan.invalid or still_failed or lacking or unfinished))
