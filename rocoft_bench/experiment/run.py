"""One run: an experiment is built, trained and put on record in a folder, or resumed there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.build import Built, build
from rocoft_bench.experiment.card import CARD, CardContext, form_of, model_card
from rocoft_bench.experiment.encoded_split import make_evaluator, prediction_lines
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.experiment.run_record import make_record, record_of_result
from rocoft_bench.methods import Method
from rocoft_bench.runs import (
    MAKE_ROOM,
    RunDirectory,
    RunRecord,
    atomic_replacement,
    other_weights,
    provenance,
    saved_files,
    write_json,
    write_json_lines,
    write_text,
)
from rocoft_bench.untrusted import read_json

if TYPE_CHECKING:
    from rocoft_bench.engine.processes import Processes
    from rocoft_bench.engine.trainer import Trainer, TrainResult


def run(experiment: Experiment, folder: Path, observer: Observer, force: bool = False) -> tuple[RunRecord, bool]:
    """Run an experiment in a folder, or resume it there; a finished one is left alone unless `force`.

    Returns the record and whether anything was run. A run that fails leaves a record that says how, if the disk has
    room for it.

    Raises:
        UserError: If the input, the model or the folder cannot be used; nothing is left behind then.
        Interrupted: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint.
    """
    with claimed(experiment, folder, force) as (directory, finished):
        if finished is not None:
            return finished, False
        return execute(experiment, directory, observer, force), True


@contextmanager
def claimed(
    experiment: Experiment, folder: Path, force: bool, lock: bool = True
) -> Iterator[tuple[RunDirectory, RunRecord | None]]:
    """A folder that has been checked and locked for a run, and the run's record if it is finished there.

    Finished is a run with its trained values: of a record that came without them, a new run takes the place.

    lock: False where a process on another machine has it for this one.
    """
    directory = RunDirectory(folder)
    directory.check_is_ours(experiment.identity, force)
    directory.check_writable()
    with directory.locked() if lock else nullcontext():
        finished = None if force else directory.finished(experiment.identity)
        if finished is not None:
            directory.remove_work()  # a process that died at the very end may have left it
        yield directory, finished


def execute(
    experiment: Experiment,
    directory: RunDirectory,
    observer: Observer,
    force: bool = False,
    processes: Processes | None = None,
) -> RunRecord:
    """Build, train and record, in this process or together with others that call the same.

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
        result = make_trainer(experiment, built, directory, observer, processes).run()
        built.notes.extend(result.state.notes)
        record = _finish(experiment, built, result, directory, processes) if processes.is_main else None
        return processes.from_main(record)
    except UserError:
        raise
    except BaseException as error:
        if built is None and not isinstance(error, Exception):
            raise  # stopped before there was anything to resume
        if built is None and processes.is_main:
            _open(experiment, directory, force)
        record = _record_failure(experiment, built, directory, error, processes)
        # what the user can mend by another setting or more room is told by the record; the rest shows its traceback
        if record.status in ("nan", "oom") or record.hint == MAKE_ROOM:
            return record
        raise


def _begin(experiment: Experiment, built: Built, directory: RunDirectory, force: bool, processes: Processes) -> None:
    if processes.is_main:
        _open(experiment, directory, force)
        _check_same_inputs(experiment, built, directory)
    processes.wait()
    if not directory.config.is_file():
        raise UserError(f"--output {directory.path}: must be a folder that all machines share")


def _open(experiment: Experiment, directory: RunDirectory, force: bool) -> None:
    directory.clear() if force else directory.record.unlink(missing_ok=True)
    directory.start(experiment.config)


def _check_same_inputs(experiment: Experiment, built: Built, directory: RunDirectory) -> None:
    """A checkpoint is only resumed with the examples, the template and the base model that it was made with: with
    others, the result would be of neither.
    """
    examples = [split.origin["sha256"] for split in (built.train, built.evaluation)]
    file = directory.work / "data.json"
    before = read_json(file) if file.is_file() else {}
    if isinstance(before, list):  # of a version that did not note the model
        before = {"rows": before}
    changed = []
    if before.get("rows", examples) != examples:
        changed.append("the data has changed")
    if what := other_weights(before.get("model", {}), built.model_origin):
        changed.append(f"the base model is another one ({what})")
    template = experiment.task.template(built.tokenizer)
    if before.get("template", template) != template:
        changed.append("the prompt's template is another one")
    if changed:
        raise UserError(f"{directory.path}: {' and '.join(changed)} since this run began; --force starts it afresh")
    write_json(file, {"rows": examples, "model": built.model_origin, "template": template})


def make_trainer(
    experiment: Experiment, built: Built, directory: RunDirectory, observer: Observer, processes: Processes
) -> Trainer:
    """The trainer of what was built, with its checkpoints in the run's folder."""
    from accelerate.utils import set_seed

    from rocoft_bench.engine.accelerator import make_accelerator, reset_peak_memory
    from rocoft_bench.engine.batching import padding_collate, without_unused_logits
    from rocoft_bench.engine.causal_loss import keep_logits_only
    from rocoft_bench.engine.prediction import cuts_logits
    from rocoft_bench.engine.trainer import Trainer

    settings, seed = experiment.config.training, experiment.config.seed
    accelerator = make_accelerator(settings.precision, may_skip_parameters(experiment.method, built.model.config))
    if settings.gradient_checkpointing:
        built.model.gradient_checkpointing_enable({"use_reentrant": False})
    reset_peak_memory(accelerator.device)
    collate = padding_collate(built.tokenizer)
    if experiment.task.kind == "causal_lm":
        keep_logits_only(built.model)
        if cuts_logits(built.model):
            collate = without_unused_logits(collate)
    evaluator = make_evaluator(
        experiment, built.evaluation, built.tokenizer, built.settings, observer, accelerator, processes
    )
    trainer = Trainer(
        model=built.model,
        examples=built.train.encoded,
        collate=collate,
        evaluator=evaluator,
        settings=settings,
        seed=seed,
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
        set_seed(seed + processes.index)  # the model is made; dropout is to differ from here on
    return trainer


def may_skip_parameters(method: Method, model_config: Any) -> bool:
    """Whether a step may leave a trained parameter without a gradient: by the method, or as a layer is dropped."""
    drops_layers = any("layerdrop" in name and share for name, share in model_config.to_dict().items())
    return method.skips_parameters or drops_layers


def _finish(
    experiment: Experiment, built: Built, result: TrainResult, directory: RunDirectory, processes: Processes
) -> RunRecord:
    """Write everything that the run leaves, the record last."""
    write_json_lines(directory.history, result.state.history)
    write_json_lines(directory.predictions, prediction_lines(experiment.task, built.evaluation, result.evaluation))
    source = provenance(experiment.plugins)
    write_json(directory.provenance, source)
    with atomic_replacement(directory.adapter) as adapter:
        experiment.method.save(built.model, adapter)
        trained = {name: file for name, file in saved_files(adapter).items() if name != CARD}
        record = record_of_result(experiment, built, result, trained, processes.count)
        context = CardContext(experiment, record, source, form_of(adapter))
        write_text(adapter / CARD, model_card(context))  # in place of the empty one that peft writes
    write_json(directory.record, record.model_dump())
    directory.remove_work()
    return record


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
        directory.remove_work()  # resumed from here it would only fail again
    with suppress(OSError):  # a full disk may be what went wrong; the failure then tells of it
        write_json(directory.provenance, provenance(experiment.plugins))
        write_json(directory.record, record.model_dump())
    return record
