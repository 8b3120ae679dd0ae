"""One experiment, start to end, in the order of the paper's Section 4: task, model, method, training, result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench import models
from rocoft_bench.errors import UserError
from rocoft_bench.experiment import memory_estimate
from rocoft_bench.experiment.build import Built, build
from rocoft_bench.experiment.card import CARD, CardContext, form_of, model_card
from rocoft_bench.experiment.encoded_split import make_evaluator, prediction_lines
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models.activations import ExampleLength
from rocoft_bench.runs import (
    MAKE_ROOM,
    RunDirectory,
    RunRecord,
    SavedFile,
    atomic_replacement,
    config_hash,
    other_weights,
    provenance,
    saved_files,
    settings_hash,
    write_json,
    write_json_lines,
    write_text,
)
from rocoft_bench.untrusted import read_json

if TYPE_CHECKING:
    from rocoft_bench.engine.observer import Observer
    from rocoft_bench.engine.processes import Processes
    from rocoft_bench.engine.trainer import TrainResult

__all__ = [
    "Built",
    "Experiment",
    "build",
    "evaluation_fields",
    "execute",
    "make_record",
    "resolve",
    "run",
    "run_once",
]


def run(experiment: Experiment, folder: Path, observer: Observer, force: bool = False) -> tuple[RunRecord, bool]:
    """Run an experiment in a folder, or go on with it there; a finished one is left alone unless `force`.

    Finished is a run with its trained values: of a record that came without them, a new run takes the place.

    Returns the record and whether anything was run. A run that fails leaves a record that says how, if the disk has
    room for it.

    Raises:
        UserError: If the input, the model or the folder cannot be used; nothing is left behind then.
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint.
    """
    return run_once(experiment, folder, force, lambda directory: execute(experiment, directory, observer, force))


def run_once(
    experiment: Experiment, folder: Path, force: bool, make: Callable[[RunDirectory], RunRecord], lock: bool = True
) -> tuple[RunRecord, bool]:
    """Let a run be made in a folder that has been checked and locked for it, as `run` does.

    lock: False where a process on another machine has it for this one.
    """
    directory = RunDirectory(folder)
    directory.check_is_ours(experiment.config, force)
    directory.check_writable()
    with directory.locked() if lock else nullcontext():
        if not force and (record := directory.finished(experiment.config)):
            directory.remove_work()  # a process that died at the very end may have left it
            return record, False
        return make(directory), True


def execute(
    experiment: Experiment,
    directory: RunDirectory,
    observer: Observer,
    force: bool = False,
    processes: Processes | None = None,
) -> RunRecord:
    """Make a run in its folder, in this process or together with others that call the same.

    Only the main process writes; the others return the same record.
    """
    from accelerate.utils import set_seed

    from rocoft_bench.engine.processes import Processes

    processes = processes or Processes()
    set_seed(experiment.config.seed)
    built = None
    try:
        built = build(experiment, observer)
        _begin(experiment, built, directory, force, processes)
        result = train(experiment, built, directory, observer, processes)
        record = _finish(experiment, built, result, directory, processes) if processes.is_main else None
        return processes.from_main(record)
    except UserError:
        raise
    except BaseException as error:
        if built is None and not isinstance(error, Exception):
            raise  # stopped before there was anything to go on from
        if built is None and processes.is_main:
            _open(experiment, directory, force)
        record = _record_failure(experiment, built, directory, error, processes)
        if record.status in ("nan", "oom") or record.hint == MAKE_ROOM:
            return record
        raise


def _begin(experiment: Experiment, built: Built, directory: RunDirectory, force: bool, processes: Processes) -> None:
    if processes.is_main:
        _open(experiment, directory, force)
        _check_same_inputs(built, directory)
    processes.wait()
    if not directory.config.is_file():
        raise UserError(f"--output {directory.path}: must be a folder that all machines share")


def _open(experiment: Experiment, directory: RunDirectory, force: bool) -> None:
    directory.clear() if force else directory.record.unlink(missing_ok=True)
    directory.start(experiment.config)


def _record_failure(
    experiment: Experiment,
    built: Built | None,
    directory: RunDirectory,
    error: BaseException,
    processes: Processes,
) -> RunRecord:
    from rocoft_bench.engine.failure import diagnose

    failure = diagnose(error)
    record = make_record(experiment, built, processes=processes.count, **failure._asdict())
    if not processes.is_main:
        return record
    if failure.status == "nan":
        directory.remove_work()  # going on from here would only fail again
    with suppress(OSError):  # a full disk may be what went wrong; the failure then tells of it
        write_json(directory.provenance, provenance())
        write_json(directory.record, record.model_dump())
    return record


def _check_same_inputs(built: Built, directory: RunDirectory) -> None:
    """A checkpoint only goes on with the rows and the base model that it was made with."""
    rows = [rows.origin["sha256"] for rows in (built.train, built.evaluation)]
    file = directory.work / "data.json"
    before = read_json(file) if file.is_file() else {}
    if isinstance(before, list):  # of a version that did not note the model
        before = {"rows": before}
    changed = []
    if before.get("rows", rows) != rows:
        changed.append("the data has changed")
    if what := other_weights(before.get("model", {}), built.model_origin):
        changed.append(f"the base model is another one ({what})")
    if changed:
        raise UserError(f"{directory.path}: {' and '.join(changed)} since this run began; --force starts it afresh")
    write_json(file, {"rows": rows, "model": built.model_origin})


def train(
    experiment: Experiment, built: Built, directory: RunDirectory, observer: Observer, processes: Processes
) -> TrainResult:
    """Train the built model, with checkpoints in the run's folder."""
    from accelerate.utils import set_seed

    from rocoft_bench.engine.accelerator import make_accelerator
    from rocoft_bench.engine.batching import padding_collate
    from rocoft_bench.engine.peak_memory import reset_peak_memory
    from rocoft_bench.engine.trainer import Trainer

    settings = experiment.config.training
    accelerator = make_accelerator(settings.precision)
    if settings.gradient_checkpointing:
        built.model.gradient_checkpointing_enable({"use_reentrant": False})
    reset_peak_memory(accelerator.device)
    trainer = Trainer(
        model=built.model,
        train_rows=built.train.encoded,
        collate=padding_collate(built.tokenizer),
        evaluator=make_evaluator(
            experiment.task,
            built.evaluation,
            built.tokenizer,
            built.settings,
            settings.eval_batch_size,
            accelerator,
            observer,
            processes,
        ),
        settings=settings,
        seed=experiment.config.seed,
        accelerator=accelerator,
        workdir=directory.work,
        observer=observer,
        make_hooks=lambda total_steps: experiment.method.hooks(built.model, settings, total_steps),
        processes=processes,
    )
    if settings.warmup_steps >= trainer.total_steps:
        note = f"the warm-up of {settings.warmup_steps} steps is not over when training ends ({trainer.total_steps})"
        built.notes.append(note)
        observer.note(note)
    if not processes.is_main:
        set_seed(experiment.config.seed + processes.index)  # the model is made; dropout is to differ from here on
    result = trainer.run()
    built.notes.extend(result.notes)
    return result


def _finish(
    experiment: Experiment, built: Built, result: TrainResult, directory: RunDirectory, processes: Processes
) -> RunRecord:
    """Write everything that the run leaves, the record last."""
    write_json_lines(directory.history, result.history)
    lines = prediction_lines(experiment.task, built.evaluation, result.evaluation)
    write_json_lines(directory.predictions, lines)
    source = provenance()
    write_json(directory.provenance, source)
    with atomic_replacement(directory.adapter) as adapter:
        experiment.method.save(built.model, adapter)
        record = _record_of_result(experiment, built, result, saved_files(adapter), processes)
        context = CardContext(experiment, record, source, form_of(adapter))
        write_text(adapter / CARD, model_card(context))  # in place of the empty one that peft writes
    write_json(directory.record, record.model_dump())
    directory.remove_work()
    return record


def _record_of_result(
    experiment: Experiment,
    built: Built,
    result: TrainResult,
    saved: dict[str, SavedFile],
    processes: Processes,
) -> RunRecord:
    from rocoft_bench.engine.peak_memory import peak_memory_mib

    peak, kind = peak_memory_mib(next(built.model.parameters()).device)
    adapter_files = {name: file for name, file in saved.items() if name != CARD}
    return make_record(
        experiment,
        built,
        status="ok",
        processes=processes.count,
        adapter_bytes=sum(file.bytes for file in adapter_files.values()),
        adapter_files=adapter_files,
        metrics=result.evaluation.metrics,
        kept_epoch=result.kept_epoch,
        initial_metrics=next((entry["metrics"] for entry in result.history if entry.get("epoch") == 0), None),
        epoch_metrics=[entry["metrics"] for entry in result.history if entry.get("epoch")],
        steps=result.steps,
        train_seconds=round(result.train_seconds, 3),
        eval_seconds=round(result.eval_seconds, 3),
        peak_memory_mib=round(peak, 1),
        peak_memory_kind=kind if processes.count == 1 else f"{kind}, the first of {processes.count} processes",
    )


def make_record(experiment: Experiment, built: Built | None, **outcome: Any) -> RunRecord:
    """A record with what is known of a run: without what was built, less."""
    config = experiment.config
    known = models.known_model(config.model.name)
    facts: dict[str, Any] = {"notes": list(experiment.notes)}
    if built is not None:
        origins = {"train": built.train.origin, "evaluation": built.evaluation.origin}
        facts = {
            "data": {**origins, "train_rows": len(built.train.raw), "eval_rows": len(built.evaluation.raw)},
            "parameters": _parameters(experiment, built.model),
            "memory_estimate_mib": _memory_estimate(experiment, built),
            "notes": built.notes,
        }
    return RunRecord(
        **evaluation_fields(experiment),
        method=config.method,
        model={
            "name": config.model.name,
            **(built.model_origin if built else {}),
            "paper_name": known.paper_name if known else None,
        },
        seed=config.seed,
        keep=config.training.keep,
        **facts,
        **outcome,
    )


def _parameters(experiment: Experiment, model: Any) -> dict[str, int]:
    counts = models.count_parameters(model, experiment.task.kind in TASKS_WITH_HEAD)
    return {**counts.as_record(), "stored": experiment.method.stored_parameters(model, counts.adapter)}


def _memory_estimate(experiment: Experiment, built: Built) -> dict[str, float] | None:
    """By parts, for the longest row that there is and the device that the run is on."""
    layers = memory_estimate.facts_of(experiment)
    if layers is None:
        return None
    source = max(built.train.longest(), built.evaluation.longest()) + experiment.method.added_tokens
    target = built.train.longest("labels") if experiment.task.kind == "seq2seq_lm" else source
    row = ExampleLength(source, target if layers.shapes.is_encoder_decoder else 0)
    on_gpu = next(built.model.parameters()).device.type != "cpu"
    return memory_estimate.estimate(experiment, layers, row, on_gpu).as_record()


def evaluation_fields(experiment: Experiment) -> dict[str, Any]:
    """The fields of a record that say what was evaluated and how."""
    config, task = experiment.config, experiment.task
    return {
        "config_hash": config_hash(config),
        "settings_hash": settings_hash(config),
        "label": experiment.method.label,
        "task": {
            "family": task.family,
            "name": task.name,
            "version": task.version,
            "paper_task": task.paper_task,
            "metric_names": list(task.metric_names),
            "eval_split": task.eval_split,
            "random_baseline": task.random_baseline,
            "settings": config.task.model_dump(mode="json", exclude={"family", "name"}),
        },
        "protocol": task.protocol(config.task),
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
