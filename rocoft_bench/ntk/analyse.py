"""One task, several draws, start to end: rows and model, kernels, coefficients, predictions, records."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from rocoft_bench import models
from rocoft_bench.engine.accelerator import peak_memory_mib, reset_peak_memory
from rocoft_bench.engine.failure import diagnose
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.run import run
from rocoft_bench.ntk.kernel_files import KernelDirectory
from rocoft_bench.ntk.kernel_inputs import KernelInputs, prepare
from rocoft_bench.ntk.kernel_scores import TestScorer
from rocoft_bench.ntk.kernel_settings import KernelSettings
from rocoft_bench.ntk.kernels import make_set, size_of
from rocoft_bench.ntk.similarity import alignment, eigenvalues, relative_difference
from rocoft_bench.ntk.solvers import Array, KernelProblem, Solution, predicted, solve
from rocoft_bench.ntk.training_kernels import OUTPUTS, KernelObserver, full_kernel, training_kernels
from rocoft_bench.plugins import used
from rocoft_bench.runs import (
    Failure,
    Kernel,
    KernelRecord,
    RunDirectory,
    provenance,
    read_record,
    write_json,
    write_json_lines,
)

HINTS = {
    "oom": "try a smaller --memory-gib or --batch-size",
    "nan": "try --set precision=float64",
    "interrupted": "the same command goes on from the last block",
}
REFERENCE = "K_full"
"""The kernel that others are compared with."""


def analyse(
    settings: Sequence[KernelSettings], output: Path, observer: KernelObserver, force: bool = False
) -> list[KernelRecord]:
    """Make the analyses of one task, which differ in their seed only; those that are finished are read.

    output: the folder of all results; each analysis has its own below it.

    Raises: UserError if the input cannot be used; nothing is left behind then. Whatever ends the work before its end,
    after records that say so.
    """
    directories = [KernelDirectory(output / own.folder_name) for own in settings]
    to_do = [own for own, directory in zip(settings, directories, strict=True) if force or not directory.is_done()]
    are_alike = all(own.method is None for own in to_do)  # a method begins otherwise with each seed
    for group in filter(None, [to_do] if are_alike else [[own] for own in to_do]):
        _make(group, output, observer, force)
    return [read_record(directory.record, KernelRecord) for directory in directories]


def _make(settings: Sequence[KernelSettings], output: Path, observer: KernelObserver, force: bool) -> None:
    started = time.monotonic()
    directories = {own.seed: KernelDirectory(output / own.folder_name) for own in settings}
    with ExitStack() as locks:
        for directory in directories.values():
            directory.check_writable()
            locks.enter_context(directory.locked())
        inputs = prepare(settings[0], list(directories))
        for note in (*inputs.notes, str(inputs.budget)):
            observer.note(note)
        for own in settings:
            if force:
                directories[own.seed].restart()
            directories[own.seed].record.unlink(missing_ok=True)
            directories[own.seed].start(own)
        try:
            found = _findings(inputs, directories, observer)
            seconds = (time.monotonic() - started) / len(settings)
            for own in settings:
                outcome = {"status": "ok", "seconds": round(seconds, 3), **found[own.seed]}
                _write_record(inputs, own, directories[own.seed], outcome)
                directories[own.seed].remove_work()
        except UserError:
            raise
        except BaseException as error:
            failure = failure_of(error)
            for own in settings:
                with suppress(OSError):
                    _write_record(inputs, own, directories[own.seed], failure._asdict())
            raise


def failure_of(error: BaseException) -> Failure:
    """How an analysis that ended badly is put on record."""
    failure = diagnose(error)
    return failure._replace(hint=HINTS.get(failure.status, failure.hint))


def _findings(
    inputs: KernelInputs, directories: Mapping[int, KernelDirectory], observer: KernelObserver
) -> dict[int, dict[str, Any]]:
    """What goes on record, by draw; kernels, predictions and provenance are written."""
    device = next(inputs.capturer.model.parameters()).device
    reset_peak_memory(device)
    kernels = {seed: training_kernels(inputs, seed, own, observer) for seed, own in directories.items()}
    solutions = {seed: _solutions(inputs, seed, own) for seed, own in kernels.items()}
    scores = TestScorer(inputs, directories, solutions, observer).scores()
    plugins = used({"method": [inputs.settings.method["name"]] if inputs.settings.method else []})
    found: dict[int, dict[str, Any]] = {}
    for seed, directory in directories.items():
        reference = kernels[seed][REFERENCE] if REFERENCE in kernels[seed] else full_kernel(inputs, seed, directory)
        full = None if reference is None else reference.numpy()
        found[seed] = {
            "kernels": {
                name: _kernel(inputs, seed, name, kernels[seed][name].numpy(), solution, scores[seed][name], full)
                for name, solution in solutions[seed].items()
            },
            "peak_memory_mib": round(peak_memory_mib(device)[0], 1),
        }
        if trained := _fine_tuned(inputs.settings.model_copy(update={"seed": seed}), directory, observer):
            found[seed]["kernels"]["trained_ft" if inputs.settings.method else "full_ft"] = trained
        write_json_lines(directory.predictions, _prediction_lines(inputs, scores[seed]))
        write_json(directory.provenance, provenance(plugins))
    return found


def _fine_tuned(settings: KernelSettings, directory: KernelDirectory, observer: KernelObserver) -> Kernel | None:
    """What training really gives, beside a kernel's prediction of it: of a run on the same prompts and draw, which lies
    among the results as any other.

    Raises: RuntimeError if that run fails.
    """
    if settings.run is not None:
        record = RunDirectory(settings.run).read_record()
    elif settings.fine_tuning is not None:
        experiment = settings.experiment()
        folder = experiment.folder_in(directory.path.parents[1])
        record, _ = run(experiment, folder, Observer())
        if record.status != "ok":
            raise RuntimeError(f"the run in {folder} has no result ({record.status}: {record.error})")
        observer.finished_part(f"{settings.task}, seed {settings.seed}: {record.label}, {folder}")
    else:
        return None
    return Kernel.model_validate({**(record.metrics or {}), "parameters": (record.parameters or {}).get("trainable")})


def _solutions(inputs: KernelInputs, seed: int, kernels: Mapping[str, Tensor]) -> dict[str, Solution]:
    s = inputs.settings
    labels = np.array(inputs.train[seed].labels)
    f0 = kernels[OUTPUTS].numpy() if s.f0 else None
    return {
        name: solve(KernelProblem(kernel.numpy(), labels, f0), s.solver, s.ridge)
        for name, kernel in kernels.items()
        if name != OUTPUTS
    }


def _kernel(
    inputs: KernelInputs, seed: int, name: str, kernel: Array, solution: Solution, scores: Array, full: Array | None
) -> Kernel:
    own = Kernel.model_validate(inputs.task.score(predicted(scores).tolist(), inputs.test.labels))
    parts = make_set(name.removeprefix("K_"), inputs.parameters, inputs.settings.model_copy(update={"seed": seed}))
    own.regularization, own.parameters = solution.penalty, size_of(parts, inputs.parameters)
    own.eigenvalues = eigenvalues(kernel).tolist() if inputs.settings.is_symmetric else []
    if full is not None and name != REFERENCE:
        own.relative_difference = {"1": relative_difference(kernel, full, 1), "2": relative_difference(kernel, full, 2)}
        own.alignment = alignment(kernel, full)
    return own


def _prediction_lines(inputs: KernelInputs, scores: Mapping[str, Array]) -> list[dict[str, Any]]:
    labels = {name: predicted(values).tolist() for name, values in scores.items()}
    return [
        {"index": index, "reference": reference, **{name: own[index] for name, own in labels.items()}}
        for index, reference in enumerate(inputs.test.labels)
    ]


def _write_record(
    inputs: KernelInputs, settings: KernelSettings, directory: KernelDirectory, outcome: Mapping[str, Any]
) -> None:
    train, test = inputs.train[settings.seed], inputs.test
    known = models.known_model(settings.model.name)
    is_difference = settings.outputs(len(inputs.task.label_names)) == 1
    record = KernelRecord(
        config_hash=settings.config_hash(),
        settings_hash=settings.settings_hash(),
        task=settings.task,
        shots=settings.shots,
        labels=list(inputs.task.label_names),
        seed=settings.seed,
        model={
            "name": settings.model.name,
            **inputs.model_origin,
            "paper_name": known.paper_name if known else None,
        },
        data={
            "train": train.origin,
            "evaluation": test.origin,
            "train_rows": len(train.examples),
            "eval_rows": len(test.examples),
        },
        protocol=inputs.task.protocol(inputs.task_settings, "logit difference" if is_difference else "logits"),
        settings=settings.chosen(),
        notes=[*inputs.notes, *train.notes, *test.notes],
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        prompt=inputs.prompt(settings.seed),
        **outcome,
    )
    write_json(directory.record, record.model_dump(mode="json"))
