"""One task, several draws, start to end: rows and model, kernels, coefficients, predictions, records."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rocoft_bench import models
from rocoft_bench.engine.failure import diagnose
from rocoft_bench.engine.peak_memory import peak_memory_mib, reset_peak_memory
from rocoft_bench.errors import UserError
from rocoft_bench.metrics import compute
from rocoft_bench.ntk.directory import KernelDirectory
from rocoft_bench.ntk.distances import alignment, eigenvalues, relative_difference
from rocoft_bench.ntk.kernels import make_set, size_of
from rocoft_bench.ntk.kernels_of_draw import OUTPUTS, full_kernel, training_kernels
from rocoft_bench.ntk.memory import Plan, make_plan
from rocoft_bench.ntk.observer import Observer
from rocoft_bench.ntk.predicting import Predictor
from rocoft_bench.ntk.preparing import Prepared, choices, prepare
from rocoft_bench.ntk.settings import KernelSettings
from rocoft_bench.ntk.solvers import Array, Problem, Solution, predicted, solve
from rocoft_bench.runs import Failure, Kernel, KernelRecord, provenance, read_record, write_json, write_json_lines

HINTS = {
    "oom": "try a smaller --memory-gib or --batch-size",
    "nan": "try --set precision=float64",
    "interrupted": "the same command goes on from the last block",
}
REFERENCE = "K_full"
"""The kernel that others are compared with."""


def analyse(
    settings: Sequence[KernelSettings], output: Path, observer: Observer, force: bool = False
) -> list[KernelRecord]:
    """Make the analyses of one task, which differ in their seed only; those that are finished are read.

    output: the folder of all results; each analysis has its own below it.

    Raises:
        UserError: If the input cannot be used; nothing is left behind then.
        Whatever ends the work before its end, after records that say so.
    """
    directories = {own.seed: KernelDirectory(output / own.folder_name) for own in settings}
    to_do = [own for own in settings if force or not directories[own.seed].is_done()]
    if to_do:
        _make(to_do, {own.seed: directories[own.seed] for own in to_do}, observer, force)
    return [read_record(directories[own.seed].record, KernelRecord) for own in settings]


def _make(
    settings: Sequence[KernelSettings], directories: Mapping[int, KernelDirectory], observer: Observer, force: bool
) -> None:
    started = time.monotonic()
    with ExitStack() as locks:
        for directory in directories.values():
            directory.check_writable()
            locks.enter_context(directory.locked())
        prepared = prepare(settings[0], list(directories))
        plan = _planned(prepared)
        for note in (*prepared.notes, str(plan)):
            observer.note(note)
        for own in settings:
            if force:
                directories[own.seed].restart()
            directories[own.seed].record.unlink(missing_ok=True)
            directories[own.seed].begin(own)
        try:
            _carry_out(prepared, plan, settings, directories, observer, started)
        except UserError:
            raise
        except BaseException as error:
            failure = failure_of(error)
            for own in settings:
                with suppress(OSError):
                    facts = {"kernels": {}, **failure._asdict()}
                    write_json(directories[own.seed].record, _record(prepared, own, facts).model_dump(mode="json"))
            raise


def failure_of(error: BaseException) -> Failure:
    """How an analysis that ended badly is put on record."""
    failure = diagnose(error)
    return failure._replace(hint=HINTS.get(failure.status, failure.hint))


def _planned(prepared: Prepared) -> Plan:
    """Raises: UserError if the model lacks what a kernel is of, or there is too little memory."""
    s = prepared.settings
    every = [example for rows in (*prepared.train.values(), prepared.test) for example in rows.examples]
    most = max(len(rows.examples) for rows in prepared.train.values())
    engine = prepared.engine(list(prepared.train)[:1])
    return make_plan(prepared.capturer, engine, every, most, s.batch_size, s.memory_gib)


def _carry_out(
    prepared: Prepared,
    plan: Plan,
    settings: Sequence[KernelSettings],
    directories: Mapping[int, KernelDirectory],
    observer: Observer,
    started: float,
) -> None:
    seeds = list(directories)
    device = next(prepared.capturer.model.parameters()).device
    reset_peak_memory(device)
    kernels = {seed: training_kernels(prepared, seed, plan, directories[seed], observer) for seed in seeds}
    solutions = {seed: _solutions(prepared, seed, own) for seed, own in kernels.items()}
    scores = Predictor(prepared, plan, directories, solutions, observer).scores()
    seconds = (time.monotonic() - started) / len(seeds)
    for own in settings:
        directory = directories[own.seed]
        found = _findings(prepared, own.seed, kernels[own.seed], solutions[own.seed], scores[own.seed], directory)
        outcome = {
            "status": "ok",
            "kernels": found,
            "seconds": round(seconds, 3),
            "peak_memory_mib": round(peak_memory_mib(device)[0], 1),
        }
        write_json_lines(directory.predictions, _prediction_lines(prepared, scores[own.seed]))
        write_json(directory.provenance, provenance())
        write_json(directory.record, _record(prepared, own, outcome).model_dump(mode="json"))
        directory.remove_work()


def _solutions(prepared: Prepared, seed: int, kernels: Mapping[str, Tensor]) -> dict[str, Solution]:
    s = prepared.settings
    labels = np.array(prepared.train[seed].draw.labels)
    f0 = kernels[OUTPUTS].numpy() if s.f0 else None
    return {
        name: solve(Problem(kernel.numpy(), labels, f0), s.solver, s.ridge)
        for name, kernel in kernels.items()
        if name != OUTPUTS
    }


def _findings(
    prepared: Prepared,
    seed: int,
    kernels: Mapping[str, Tensor],
    solutions: Mapping[str, Solution],
    scores: Mapping[str, Array],
    directory: KernelDirectory,
) -> dict[str, Kernel]:
    reference = kernels.get(REFERENCE, full_kernel(prepared, seed, directory))
    found = {}
    for name, solution in solutions.items():
        matrix = kernels[name].numpy()
        own = Kernel.model_validate(_metrics(prepared, scores[name]))
        own.regularization = solution.penalty
        own.parameters = _size(prepared, seed, name)
        own.eigenvalues = eigenvalues(matrix).tolist()
        if reference is not None and name != REFERENCE:
            own.relative_difference = {
                "1": relative_difference(matrix, reference.numpy(), 1),
                "2": relative_difference(matrix, reference.numpy(), 2),
            }
            own.alignment = alignment(matrix, reference.numpy())
        found[name] = own
    return found


def _size(prepared: Prepared, seed: int, kernel: str) -> int:
    parts = make_set(kernel.removeprefix("K_"), prepared.parameters, choices(prepared.settings, seed))
    return size_of(parts, prepared.parameters)


def _metrics(prepared: Prepared, scores: Array) -> dict[str, float]:
    names = ("accuracy", "f1") if prepared.prompter.task.has_f1 else ("accuracy",)
    return compute(names, predicted(scores).tolist(), list(prepared.test.draw.labels))


def _prediction_lines(prepared: Prepared, scores: Mapping[str, Array]) -> list[dict[str, Any]]:
    labels = {name: predicted(values).tolist() for name, values in scores.items()}
    return [
        {"index": index, "reference": reference, **{name: own[index] for name, own in labels.items()}}
        for index, reference in enumerate(prepared.test.draw.labels)
    ]


def _record(prepared: Prepared, settings: KernelSettings, outcome: Mapping[str, Any]) -> KernelRecord:
    train, test = prepared.train[settings.seed], prepared.test
    known = models.known_model(settings.model.name)
    return KernelRecord(
        config_hash=settings.config_hash(),
        settings_hash=settings.settings_hash(),
        task=settings.task,
        shots=settings.shots,
        labels=list(prepared.prompter.words),
        seed=settings.seed,
        model={
            "name": settings.model.name,
            **prepared.model_origin,
            "paper_name": known.paper_name if known else None,
        },
        data={
            "train": train.draw.origin,
            "evaluation": test.draw.origin,
            "train_rows": len(train.examples),
            "eval_rows": len(test.examples),
        },
        protocol=prepared.protocol(),
        settings=settings.chosen(),
        notes=[*prepared.notes, *train.notes, *test.notes],
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **outcome,
    )
