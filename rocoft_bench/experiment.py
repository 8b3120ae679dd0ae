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
from rocoft_bench.config import RunConfig, Settings, validate
from rocoft_bench.errors import UserError
from rocoft_bench.methods import Method
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
    from datasets import Dataset

    from rocoft_bench.engine.observer import Observer
    from rocoft_bench.engine.trainer import TrainResult

CALIBRATION_ROWS = 32
"""Training rows from which a scored selection (max, min, mixed) takes its activations."""


@dataclass(frozen=True)
class Experiment:
    """A checked configuration with the task and the method that it names."""

    config: RunConfig
    task: Task
    method: Method

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
    """Everything loaded, nothing trained yet. `notes` says how the run differs from what its name says."""

    model: Any
    tokenizer: Any
    train_rows: Dataset
    eval_rows: Dataset
    references: list[Any]
    record: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def resolve(settings: Settings) -> Experiment:
    """Check all settings and complete them with the method's defaults. Loads neither data nor torch.

    Raises:
        UserError: If anything in the settings is unknown or out of range.
    """
    config = validate(settings)
    task = tasks.get(config.task.family, config.task.name)
    method = methods.resolve(config.method, settings.sources)
    complete = {"name": method.name, **method.settings.model_dump()}
    return Experiment(config.model_copy(update={"method": complete}), task, method)


def run(experiment: Experiment, folder: Path, observer: Observer, force: bool = False) -> tuple[RunRecord, bool]:
    """Run an experiment in a folder, or go on with it there; a finished one is left alone unless `force`.

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
            if record.status == "ok":
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
    hashes = json.dumps([prepared.record["data"][name]["sha256"] for name in ("train", "evaluation")])
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
    train = task.load(task.train_split, config.task.data_dir)
    evaluation = task.load(task.eval_split, config.task.data_dir)
    source = models.locate(config.model)
    model, tokenizer = models.load_classifier(source, config.model, task.num_labels, task.label_names)
    notes: list[str] = []
    prepared = Prepared(
        model=_apply(experiment, model, notes),
        tokenizer=tokenizer,
        train_rows=_first_rows(train.rows, config.task.max_train_rows, "training", notes),
        eval_rows=_first_rows(evaluation.rows, config.task.max_eval_rows, "evaluation", notes),
        references=[],
        record={
            "model": {"name": config.model.name, **source.origin(model.config)},
            "data": {"train": train.origin, "evaluation": evaluation.origin},
        },
        notes=notes,
    )
    prepared.references = prepared.eval_rows["label"][:]
    _encode(experiment, prepared)
    _calibrate(experiment, prepared)
    for note in notes:
        observer.note(note)
    return prepared


def _check_precision(precision: str) -> None:
    import torch

    if precision == "fp16" and not torch.cuda.is_available():
        raise UserError("training.precision = 'fp16': fp16 needs a GPU; use fp32 or bf16")


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


def _first_rows(rows: Dataset, limit: int | None, name: str, notes: list[str]) -> Dataset:
    if limit is None or limit >= len(rows):
        return rows
    notes.append(f"only the first {limit} of {len(rows)} {name} rows are used")
    return rows.select(range(limit))


def _encode(experiment: Experiment, prepared: Prepared) -> None:
    task, wanted = experiment.task, experiment.config.task.max_length
    longest = getattr(prepared.tokenizer, "model_max_length", wanted)
    max_length = min(wanted, longest)
    if max_length < wanted:
        prepared.notes.append(f"the model takes {longest} tokens, so max_length is {longest} instead of {wanted}")
    prepared.train_rows = task.encode(prepared.train_rows, prepared.tokenizer, max_length)
    prepared.eval_rows = task.encode(prepared.eval_rows, prepared.tokenizer, max_length)
    for name, rows in (("training", prepared.train_rows), ("evaluation", prepared.eval_rows)):
        full = sum(len(ids) >= max_length for ids in rows["input_ids"])
        if full:
            prepared.notes.append(f"{full} {name} rows fill max_length {max_length} and may have been cut")


def _calibrate(experiment: Experiment, prepared: Prepared) -> None:
    if experiment.method.calibrate(prepared.model, _single_rows(prepared, CALIBRATION_ROWS)):
        prepared.notes.append(f"rows or columns were scored on the first {CALIBRATION_ROWS} training rows")


def _single_rows(prepared: Prepared, count: int) -> Iterator[dict[str, Any]]:
    """The first rows one at a time, so that no padding is in the activations."""
    from rocoft_bench.engine.batching import padding_collate

    collate = padding_collate(prepared.tokenizer)
    for row in itertools.islice(prepared.train_rows, count):
        yield collate([row])


def train(experiment: Experiment, prepared: Prepared, directory: RunDirectory, observer: Observer) -> TrainResult:
    """Train the prepared model, with checkpoints in the run's folder."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    from rocoft_bench.engine.batching import padding_collate
    from rocoft_bench.engine.memory import reset_peak_memory
    from rocoft_bench.engine.trainer import Trainer

    settings, task = experiment.config.training, experiment.task
    AcceleratorState._reset_state()  # accelerate keeps one precision per process; runs in one process may differ
    accelerator = Accelerator(mixed_precision="no" if settings.precision == "fp32" else settings.precision)
    if settings.gradient_checkpointing:
        prepared.model.gradient_checkpointing_enable({"use_reentrant": False})
    reset_peak_memory(accelerator.device)
    trainer = Trainer(
        model=prepared.model,
        train_rows=prepared.train_rows,
        eval_rows=prepared.eval_rows,
        collate=padding_collate(prepared.tokenizer),
        score=lambda logits: task.score(task.predict(logits), prepared.references),
        settings=settings,
        seed=experiment.config.seed,
        accelerator=accelerator,
        workdir=directory.work,
        observer=observer,
    )
    return trainer.run()


def _diagnose(error: BaseException) -> tuple[str, str]:
    """Status and one line for the record of a run that ended badly."""
    from rocoft_bench.engine.interrupt import Interrupted
    from rocoft_bench.engine.memory import is_out_of_memory
    from rocoft_bench.engine.trainer import NotFiniteError

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
    write_json_lines(directory.predictions, _prediction_rows(experiment.task, prepared, result))
    write_json(directory.provenance, provenance())
    peak, kind = peak_memory_mib(next(prepared.model.parameters()).device)
    record = _record(
        experiment,
        prepared,
        status="ok",
        metrics=result.metrics,
        kept_epoch=result.kept_epoch,
        epoch_metrics=[entry["metrics"] for entry in result.history if "metrics" in entry],
        steps=result.steps,
        train_seconds=round(result.train_seconds, 3),
        eval_seconds=round(result.eval_seconds, 3),
        peak_memory_mib=round(peak, 1),
        peak_memory_kind=kind,
    )
    write_json(directory.record, record.model_dump())
    directory.remove_work()
    return record


def _prediction_rows(task: Task, prepared: Prepared, result: TrainResult) -> Iterator[dict[str, Any]]:
    answers = task.predict(result.scores)
    for index, (answer, reference) in enumerate(zip(answers, prepared.references, strict=True)):
        scores = [float(value) for value in result.scores[index]]
        yield {"index": index, "prediction": answer, "reference": reference, "scores": scores}


def _record(experiment: Experiment, prepared: Prepared, **outcome: Any) -> RunRecord:
    config, task = experiment.config, experiment.task
    known = models.known_model(config.model.name)
    return RunRecord(
        config_hash=config_hash(config),
        settings_hash=settings_hash(config),
        label=experiment.method.label,
        task={
            "family": task.family,
            "name": task.name,
            "version": task.version,
            "paper_task": task.paper_task,
            "metric_names": list(task.metric_names),
            "eval_split": task.eval_split,
            "random_baseline": task.random_baseline,
        },
        protocol="argmax over the classes" if task.label_names else "the single output as it is",
        method=config.method,
        model={**prepared.record["model"], "paper_name": known.paper_name if known else None},
        data={**prepared.record["data"], "train_rows": len(prepared.train_rows), "eval_rows": len(prepared.eval_rows)},
        seed=config.seed,
        parameters=models.count_parameters(prepared.model).as_record(),
        keep=config.training.keep,
        notes=prepared.notes,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        **outcome,
    )
