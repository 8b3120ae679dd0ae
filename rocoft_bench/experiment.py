"""One experiment, start to end, in the order of the paper's Section 4: task, model, method, training, result."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench import methods, models, tasks
from rocoft_bench.config import RunConfig, Settings, TaskConfig, validate
from rocoft_bench.errors import UserError
from rocoft_bench.methods import TASKS_WITH_HEAD, Method
from rocoft_bench.models import ModelSource
from rocoft_bench.rows import Rows, encoded, fitted_settings, limited, make_evaluator, prediction_lines
from rocoft_bench.runs import (
    RunDirectory,
    RunRecord,
    config_hash,
    provenance,
    settings_hash,
    write_json,
    write_json_lines,
    write_text,
)
from rocoft_bench.tasks import Task

if TYPE_CHECKING:
    from rocoft_bench.engine.observer import Observer
    from rocoft_bench.engine.trainer import TrainResult

CALIBRATION_ROWS = 32
"""Training rows from which a scored selection (max, min, mixed) takes its activations."""

NOT_IN_FP16 = ("deberta-v2",)
"""Model types whose activations overflow in half precision; DeBERTa-v3 is one of them."""


@dataclass(frozen=True)
class Experiment:
    """A checked configuration with the task and the method that it names; `notes` as in `Prepared`."""

    config: RunConfig
    task: Task
    method: Method
    notes: tuple[str, ...] = ()

    @property
    def run_name(self) -> str:
        """Folder name: readable, and different for every different configuration."""
        c = self.config
        model = Path(c.model.name).name
        return f"{c.task.family}-{c.task.name}/{model}_{self.method.label}_seed{c.seed}_{config_hash(c)}".replace(
            " ", "-"
        )


@dataclass
class Prepared:
    """Everything loaded, nothing trained yet.

    settings: the task's, with the max_length that the model allows. notes: how the run differs from what its name says.
    """

    model: Any
    tokenizer: Any
    settings: TaskConfig
    train: Rows
    evaluation: Rows
    model_origin: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def resolve(settings: Settings) -> Experiment:
    """Check all settings and complete them with the method's defaults. Loads neither data nor torch.

    Raises:
        UserError: If anything in the settings is unknown or out of range.
    """
    task = tasks.named_in(settings.values)
    config = validate(settings, task.Settings if task else TaskConfig)
    task = task or tasks.get(config.task.family, config.task.name)
    method = methods.resolve(config.method, settings.sources, task.kind, config.model.name)
    method.check_serves(task.kind, models.model_type_of(config.model.name))
    method.check_training(config.training)
    changes: dict[str, Any] = {"method": {"name": method.name, **method.settings.model_dump()}}
    if "learning_rate" not in config.training.model_fields_set:
        changes["training"] = config.training.model_copy(update={"learning_rate": method.learning_rate})
        settings.sources["training.learning_rate"] = f"default of {method.name}"
    return Experiment(config.model_copy(update=changes), task, method, _rate_note(method, config, settings))


def _rate_note(method: Method, config: RunConfig, settings: Settings) -> tuple[str, ...]:
    """Says so where a config's learning rate was not used, because it was there for another method."""
    if settings.left_behind is None or "learning_rate" in config.training.model_fields_set:
        return ()
    rate, other = settings.left_behind
    return (
        f"the learning rate is {method.name}'s default, {method.learning_rate:g}; the config's {rate} is {other}'s",
    )


def run(experiment: Experiment, folder: Path, observer: Observer, force: bool = False) -> tuple[RunRecord, bool]:
    """Run an experiment in a folder, or go on with it there; a finished one is left alone unless `force`.

    Finished is a run with its trained values: of a record that came without them, a new run takes the place.

    Returns the record and whether anything was run. A run that fails leaves a record that says how.

    Raises:
        UserError: If the input, the model or the folder cannot be used; nothing is left behind then.
        Interrupted: On Ctrl-C or SIGTERM, after a checkpoint.
    """
    directory = RunDirectory(folder)
    directory.check_is_ours(experiment.config, force)
    directory.check_writable()
    with directory.locked():
        if directory.record.is_file() and not force:
            record = directory.read_record()
            if record.status == "ok" and directory.adapter.is_dir():
                return record, False
        return _run_locked(experiment, directory, observer, force), True


def _run_locked(experiment: Experiment, directory: RunDirectory, observer: Observer, force: bool) -> RunRecord:
    from accelerate.utils import set_seed

    set_seed(experiment.config.seed)
    prepared = prepare(experiment, observer)
    directory.clear() if force else directory.record.unlink(missing_ok=True)
    directory.start(experiment.config)
    _check_same_data(prepared, directory)
    try:
        result = train(experiment, prepared, directory, observer)
        return _finish(experiment, prepared, result, directory)
    except BaseException as error:
        record = _record_failure(experiment, prepared, directory, error)
        if record.status in ("nan", "oom"):
            return record
        raise


def _record_failure(
    experiment: Experiment, prepared: Prepared, directory: RunDirectory, error: BaseException
) -> RunRecord:
    status, message = _diagnose(error)
    record = _record(experiment, prepared, status=status, error=message)
    if status == "nan":
        directory.remove_work()  # going on from here would only fail again
    with suppress(OSError):  # a full disk may be what went wrong; `error` then tells of it
        write_json(directory.provenance, provenance())
        write_json(directory.record, record.model_dump())
    return record


def _check_same_data(prepared: Prepared, directory: RunDirectory) -> None:
    """A checkpoint only goes on with the rows that it was made with."""
    hashes = json.dumps([rows.origin["sha256"] for rows in (prepared.train, prepared.evaluation)])
    file = directory.work / "data.json"
    if file.is_file() and file.read_text(encoding="utf-8") != hashes:
        raise UserError(f"{directory.path}: the data has changed since this run began; --force starts it afresh")
    write_text(file, hashes)


def prepare(experiment: Experiment, observer: Observer) -> Prepared:
    """Load data and model, and apply the method.

    Raises:
        UserError: If the data or the model cannot be had or do not fit together.
    """
    config, task = experiment.config, experiment.task
    _check_precision(config.training.precision)
    train = task.load_training(config.task)
    evaluation = task.load(task.eval_split, config.task.data_dir)
    source = models.locate(config.model)
    model, tokenizer = load_base(experiment, source)
    _check_half_precision(config, model.config.model_type)
    notes = [*experiment.notes, *source.notes(model.config)]
    model = _apply(experiment, model, notes)
    train = limited(train, config.task.max_train_rows, "training", notes)
    evaluation = limited(evaluation, config.task.max_eval_rows, "evaluation", notes)
    settings = fitted_settings(task, config.task, longest_input(experiment, model, tokenizer), notes)
    prepared = Prepared(
        model=model,
        tokenizer=tokenizer,
        settings=settings,
        train=encoded(task, train, tokenizer, settings, True, notes),
        evaluation=encoded(task, evaluation, tokenizer, settings, False, notes),
        model_origin=source.origin(model.config),
        notes=notes,
    )
    _calibrate(experiment, prepared)
    for note in notes:
        observer.note(note)
    return prepared


def load_base(experiment: Experiment, source: ModelSource) -> tuple[Any, Any]:
    """The model that the method starts from, and its tokenizer."""
    method, task, config = experiment.method, experiment.task, experiment.config

    def check(model_type: str) -> None:
        method.check_serves(task.kind, model_type)

    return models.load(source, config.model, task.kind, task.model_options, check, method.loading_options)


def longest_input(experiment: Experiment, model: Any, tokenizer: Any) -> int | None:
    """How many tokens of a text the model takes beside the method's own; None without a limit."""
    longest = models.longest_input(model, tokenizer)
    return None if longest is None else longest - experiment.method.virtual_tokens


def _check_precision(precision: str) -> None:
    import torch

    if precision == "fp16" and not torch.cuda.is_available():
        raise UserError("training.precision = 'fp16': fp16 needs a GPU; use fp32 or bf16")


def _check_half_precision(config: RunConfig, model_type: str) -> None:
    half = "float16" if config.model.dtype == "float16" else config.training.precision
    if model_type in NOT_IN_FP16 and half in ("float16", "fp16"):
        raise UserError(f"{config.model.name}: a {model_type} model gives NaN in {half}; use fp32 or bf16")


def _apply(experiment: Experiment, model: Any, notes: list[str]) -> Any:
    """Apply the method; what it warns of, once per layer perhaps, becomes one note per kind."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            applied = experiment.method.apply(model, experiment.task.kind, experiment.config.seed)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"method {experiment.method.name} does not fit {experiment.config.model.name}: {error}"
        ) from error
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    if messages:
        more = f" (and {len(messages) - 1} more such warnings)" if len(messages) > 1 else ""
        notes.append(messages[0] + more)
    return applied


def _calibrate(experiment: Experiment, prepared: Prepared) -> None:
    if experiment.method.calibrate(prepared.model, _single_rows(prepared, CALIBRATION_ROWS)):
        prepared.notes.append(f"rows or columns were scored on the first {CALIBRATION_ROWS} training rows")


def _single_rows(prepared: Prepared, count: int) -> Iterator[dict[str, Any]]:
    """The first rows one at a time, so that no padding is in the activations."""
    from rocoft_bench.engine.batching import padding_collate

    collate = padding_collate(prepared.tokenizer)
    for row in itertools.islice(prepared.train.encoded, count):
        yield collate([row])


def train(experiment: Experiment, prepared: Prepared, directory: RunDirectory, observer: Observer) -> TrainResult:
    """Train the prepared model, with checkpoints in the run's folder."""
    from rocoft_bench.engine.accelerator import make_accelerator
    from rocoft_bench.engine.batching import padding_collate
    from rocoft_bench.engine.memory import reset_peak_memory
    from rocoft_bench.engine.trainer import Trainer

    settings = experiment.config.training
    accelerator = make_accelerator(settings.precision)
    if settings.gradient_checkpointing:
        prepared.model.gradient_checkpointing_enable({"use_reentrant": False})
    reset_peak_memory(accelerator.device)
    trainer = Trainer(
        model=prepared.model,
        train_rows=prepared.train.encoded,
        collate=padding_collate(prepared.tokenizer),
        evaluator=make_evaluator(
            experiment.task,
            prepared.evaluation,
            prepared.tokenizer,
            prepared.settings,
            settings.eval_batch_size,
            accelerator,
            observer,
        ),
        settings=settings,
        seed=experiment.config.seed,
        accelerator=accelerator,
        workdir=directory.work,
        observer=observer,
        make_hooks=lambda total_steps: experiment.method.hooks(prepared.model, settings, total_steps),
    )
    if settings.warmup_steps >= trainer.total_steps:
        note = f"the warm-up of {settings.warmup_steps} steps is not over when training ends ({trainer.total_steps})"
        prepared.notes.append(note)
        observer.note(note)
    return trainer.run()


def _diagnose(error: BaseException) -> tuple[str, str]:
    """Status and one line for the record of a run that ended badly."""
    from rocoft_bench.engine.interrupt import Interrupted
    from rocoft_bench.engine.memory import is_out_of_memory
    from rocoft_bench.engine.prediction import NotFiniteError

    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "interrupted", "stopped by the user; the same command goes on from the last checkpoint"
    if isinstance(error, NotFiniteError):
        return "nan", f"{error}; try a lower training.learning_rate or precision fp32 or bf16"
    if is_out_of_memory(error):
        return "oom", "out of memory; try a smaller training.batch_size with more training.gradient_accumulation"
    return "failed", f"{type(error).__name__}: {' '.join(str(error).split())}"


def _finish(experiment: Experiment, prepared: Prepared, result: TrainResult, directory: RunDirectory) -> RunRecord:
    """Write everything that the run leaves, the record last."""
    from rocoft_bench.engine.memory import peak_memory_mib

    experiment.method.save(prepared.model, directory.adapter)
    write_json_lines(directory.history, result.history)
    lines = prediction_lines(experiment.task, prepared.evaluation, result.evaluation)
    write_json_lines(directory.predictions, lines)
    write_json(directory.provenance, provenance())
    peak, kind = peak_memory_mib(next(prepared.model.parameters()).device)
    record = _record(
        experiment,
        prepared,
        status="ok",
        adapter_bytes=sum(file.stat().st_size for file in directory.adapter.rglob("*") if file.is_file()),
        metrics=result.evaluation.metrics,
        kept_epoch=result.kept_epoch,
        initial_metrics=next((entry["metrics"] for entry in result.history if entry.get("epoch") == 0), None),
        epoch_metrics=[entry["metrics"] for entry in result.history if entry.get("epoch")],
        steps=result.steps,
        train_seconds=round(result.train_seconds, 3),
        eval_seconds=round(result.eval_seconds, 3),
        peak_memory_mib=round(peak, 1),
        peak_memory_kind=kind,
    )
    write_json(directory.record, record.model_dump())
    directory.remove_work()
    return record


def _record(experiment: Experiment, prepared: Prepared, **outcome: Any) -> RunRecord:
    config = experiment.config
    known = models.known_model(config.model.name)
    origins = {"train": prepared.train.origin, "evaluation": prepared.evaluation.origin}
    return RunRecord(
        **what_was_judged(experiment),
        method=config.method,
        model={
            "name": config.model.name,
            **prepared.model_origin,
            "paper_name": known.paper_name if known else None,
        },
        data={**origins, "train_rows": len(prepared.train.raw), "eval_rows": len(prepared.evaluation.raw)},
        seed=config.seed,
        parameters=_parameters(experiment, prepared.model),
        keep=config.training.keep,
        notes=prepared.notes,
        **outcome,
    )


def _parameters(experiment: Experiment, model: Any) -> dict[str, int]:
    counts = models.count_parameters(model, experiment.task.kind in TASKS_WITH_HEAD)
    return {**counts.as_record(), "stored": experiment.method.stored_parameters(model, counts.adapter)}


def what_was_judged(experiment: Experiment) -> dict[str, Any]:
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
