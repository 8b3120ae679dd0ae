"""Which runs cannot start as things are: told at once, not by each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

from rocoft_bench import models
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.models.hub import WAYS_OUT, has_cached, out_of_reach
from rocoft_bench.sweep.plan import PlannedRun
from rocoft_bench.tasks.instructions import LLM_ADAPTERS, InstructionTask


class Lack(NamedTuple):
    """Something that is not in the local cache, and where it would be fetched; None for the hub."""

    what: str
    endpoint: str | None = None


def unavailable(runs: Sequence[PlannedRun], shared: bool = False, sharded: bool = False) -> dict[str, str]:
    """By name, the runs that cannot start, and why: their method cannot be trained by several processes (shared) that
    have a part of the model each (sharded), or they lack a model or rows that are out of reach.

    The hub and GitHub are asked only if something is not in the local cache.
    """
    refused = {run.name: reason for run in runs if shared and (reason := _refusal(run, sharded))}
    trouble = cache(out_of_reach)
    for run in runs:
        lacking = next((lack for lack in _lacks(run) if trouble(lack.endpoint)), None)
        if lacking is not None:
            why = trouble(lacking.endpoint)
            refused[run.name] = f"{lacking.what} is not in the local cache and {why}; {WAYS_OUT}"
    return refused


def _refusal(run: PlannedRun, sharded: bool) -> str | None:
    try:
        run.experiment.method.check_processes(sharded)
    except UserError as error:
        return str(error)
    return None


def _lacks(run: PlannedRun) -> Iterator[Lack]:
    """What a run or one of its evaluations would have to fetch."""
    for experiment in (run.experiment, *run.evaluations):
        try:
            yield from _lacking_model(experiment)
            yield from _lacking_rows(experiment)
        except UserError:  # the run itself says so
            pass


def _lacking_model(experiment: Experiment) -> Iterator[Lack]:
    source = models.locate(experiment.config.model)
    if source.revision is not None and not has_cached("model", source.path):
        yield Lack(f"model {source.path}")


def _lacking_rows(experiment: Experiment) -> Iterator[Lack]:
    task, settings = experiment.task, experiment.config.task
    if isinstance(task, InstructionTask):
        for path in task.files_to_fetch(settings):
            if not LLM_ADAPTERS.cached(path).is_file():
                yield Lack(f"{path} of {LLM_ADAPTERS.repo}", LLM_ADAPTERS.endpoint)
    elif settings.data_dir is None and task.hub is not None and not has_cached("dataset", task.hub.id):
        yield Lack(f"dataset {task.hub.id}")
