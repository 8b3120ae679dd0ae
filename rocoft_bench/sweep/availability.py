"""Which runs cannot start as things are: told at once, not by each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rocoft_bench import models
from rocoft_bench.errors import UserError
from rocoft_bench.hub import WAYS_OUT, has_cached, out_of_reach
from rocoft_bench.resolving import Experiment
from rocoft_bench.sweep.plan import PlannedRun


def unavailable(runs: Sequence[PlannedRun], shared: bool = False, sharded: bool = False) -> dict[str, str]:
    """By name, the runs that cannot start, and why: their method cannot be trained by several processes (shared) that
    have a part of the model each (sharded), or they lack a model or a dataset while the hub is out of reach.

    The hub is asked only if something is not in the local cache.
    """
    refused = {run.name: reason for run in runs if shared and (reason := _refusal(run, sharded))}
    lacking = {run.name: missing for run in runs if (missing := _missing(run))}
    trouble = out_of_reach() if lacking else ""
    if trouble:
        refused |= {
            name: f"{what} is not in the local cache and {trouble}; {WAYS_OUT}" for name, what in lacking.items()
        }
    return refused


def _refusal(run: PlannedRun, sharded: bool) -> str | None:
    try:
        run.experiment.method.check_processes(sharded)
    except UserError as error:
        return str(error)
    return None


def _missing(run: PlannedRun) -> str | None:
    """The first thing that a run or one of its evaluations would have to fetch."""
    needed = [need for experiment in (run.experiment, *run.evaluations) for need in _from_hub(experiment)]
    return next((f"{kind} {name}" for kind, name in needed if not has_cached(kind, name)), None)


def _from_hub(experiment: Experiment) -> Iterator[tuple[str, str]]:
    try:
        source = models.locate(experiment.config.model)
    except UserError:  # the run itself says so
        return
    if source.revision is not None:
        yield "model", source.path
    if experiment.config.task.data_dir is None and experiment.task.hub is not None:
        yield "dataset", experiment.task.hub.id
