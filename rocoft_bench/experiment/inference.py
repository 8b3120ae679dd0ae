"""Using a finished run: its model answers, or becomes a plain checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rocoft_bench import models
from rocoft_bench.config import Settings, leaves, read_settings
from rocoft_bench.errors import UserError, reason
from rocoft_bench.experiment.build import limits, load_base
from rocoft_bench.experiment.encoded_split import (
    encoded,
    fitted_settings,
    limited,
    make_evaluator,
    prediction_lines,
    predictor_for,
)
from rocoft_bench.experiment.resolve import Experiment, folder_of, resolve
from rocoft_bench.experiment.run import evaluation_fields
from rocoft_bench.methods.in_model import FILE_NAME as OWN_FILE
from rocoft_bench.models import PEFT_CONFIG, ModelSource
from rocoft_bench.runs import (
    Failure,
    RunDirectory,
    RunRecord,
    atomic_replacement,
    can_be_compared,
    config_hash,
    config_values,
    other_weights,
    provenance,
    remove_leftovers,
    write_json,
    write_json_lines,
    write_text,
)
from rocoft_bench.tasks.data import is_text

if TYPE_CHECKING:
    from rocoft_bench.engine.observer import Observer

EVALUATION_SETTINGS = {
    "task.name",
    "task.data_dir",
    "task.max_eval_rows",
    "task.protocol",
    "task.scoring",
    "task.max_new_tokens",
    "task.num_beams",
    "task.n_best",
    "task.null_threshold",
    "training.eval_batch_size",
}
"""What can differ between a run and a later evaluation of its model."""

TEXT_OPTIONS = ("--text", "--text-pair")


@dataclass(frozen=True)
class TrainedModel:
    """The base model with a run's trained values, ready to answer. notes: what is to be said of it."""

    experiment: Experiment
    model: Any
    tokenizer: Any
    notes: tuple[str, ...] = ()


def load_run(directory: RunDirectory, base: str | None = None) -> TrainedModel:
    """Load the model of a finished run. base: where its base model is now; by default where the run had it.

    Raises:
        UserError: If the run is not finished, its files are damaged, or its base model cannot be had or is another one.
    """
    return _load(experiment_of(directory), directory, base)


def experiment_of(directory: RunDirectory) -> Experiment:
    """What a finished run did. Loads nothing.

    Raises:
        UserError: If the run is not finished.
    """
    return resolve(_settings_of(directory))


def _settings_of(directory: RunDirectory) -> Settings:
    record = directory.read_record()
    if record.status != "ok":
        raise UserError(f"{directory.path}: the run has no result (status {record.status}: {record.error})")
    return read_settings(directory.config)


def _load(experiment: Experiment, directory: RunDirectory, base: str | None) -> TrainedModel:
    folder = trained_values(directory)
    _check_settings(experiment, directory)
    based = _based(experiment, base)
    source, notes = _local_base(based, directory)
    model, tokenizer, _ = load_base(based, source)
    if source.revision is not None:
        notes = _check_base(based, source.origin(model.config), directory)
    model = experiment.method.load(model, folder, experiment.task.kind)
    return TrainedModel(experiment, model.eval(), tokenizer, notes)


def _check_settings(experiment: Experiment, directory: RunDirectory) -> None:
    """Refuse a config.yaml that is not the one by which the values were trained."""
    record, config = directory.read_record(), experiment.config
    differing = [f"method.{key}" for key, value in record.method.items() if config.method.get(key) != value]
    if record.seed != config.seed:
        differing.append("seed")
    if differing:
        raise UserError(
            f"{directory.config}: {differing[0]} is not what the run's record says; one of them was changed"
        )


def _based(experiment: Experiment, base: str | None) -> Experiment:
    """The experiment with its base model where that is now."""
    if base is None:
        return experiment
    model = experiment.config.model.model_copy(update={"name": base})
    return replace(experiment, config=experiment.config.model_copy(update={"model": model}))


def _local_base(experiment: Experiment, directory: RunDirectory) -> tuple[ModelSource, tuple[str, ...]]:
    """Where the base model is, and what `_check_base` notes of one in a folder; of one of the hub, the commit is known
    only when it is loaded.
    """
    config = experiment.config.model
    try:
        source = models.locate(config)
    except UserError as error:
        raise UserError(f"{error}; --model says where the base model is now") from None
    if source.revision is None:
        return source, _check_base(experiment, source.origin(None), directory)
    if directory.read_record().model.get("kind") == "folder":
        raise UserError(
            f"{directory.path}: its base model is the folder {config.name}, which is not here; "
            "--model says where the base model is now"
        )
    return source, ()


def _check_base(experiment: Experiment, origin: dict[str, Any], directory: RunDirectory) -> tuple[str, ...]:
    """Refuse another base model than the run's; a note, where the two cannot be compared."""
    stated, name = directory.read_record().model, experiment.config.model.name
    if what := other_weights(stated, origin):
        raise UserError(
            f"--model {name}: is not the base model that {directory.path} was trained on ({what}); name that one with "
            "--model, or train again (rocoft train --force)"
        )
    if stated.get("kind") is None or can_be_compared(stated, origin):
        return ()
    trained_on = stated.get("id") or stated["name"]
    return (f"whether {name} has the weights of {trained_on}, on which the run was trained, is not on record",)


def trained_values(directory: RunDirectory) -> Path:
    """The folder of a run's trained values: adapter/ or, of one that was downloaded from the hub, the run's own.

    Raises:
        UserError: If they are not there or not as the run's record states them.
    """
    damage = directory.damage(directory.read_record()) if directory.adapter.is_dir() else None
    if damage is not None:
        raise UserError(f"{damage}; run its command again")
    for folder in (directory.adapter, directory.path):
        if any((folder / name).is_file() for name in (PEFT_CONFIG, OWN_FILE)):
            return folder
    raise UserError(f"{directory.path}: only the record is here, not the trained values; run its command again")


def evaluate(
    directory: RunDirectory, changes: Settings, observer: Observer, force: bool = False, base: str | None = None
) -> tuple[RunRecord, RunDirectory]:
    """Evaluate the model of a finished run once more: on another task of its family, by another protocol.

    changes: settings of the task (not those of its training) and `training.eval_batch_size`. The result is a record
    of its own below the run's folder, with the training's facts; one that is there already is left alone. base: as in
    `load_run`.

    Raises:
        UserError: If the run is not finished, a setting would have changed the training, the rows cannot be had, or the
            record that is there is of other rows or another model than there are now.
    """
    experiment = resolve(_changed(directory, changes))
    directory.check_kinds()
    target = evaluation_directory(directory, experiment)
    target.check_kinds()
    if target.record.is_file() and not force and (known := target.read_record()).status == "ok":
        remove_leftovers(target.path)  # of a process that died at the very end
        _check_still_true(known, _based(experiment, base), directory)
        return known, target
    with target.locked():
        record, lines = _evaluated(experiment, directory, observer, base)
        write_text(target.config, yaml.safe_dump(config_values(experiment.config), sort_keys=False))
        write_json_lines(target.predictions, lines)
        write_json(target.provenance, provenance())
        write_json(target.record, record.model_dump())
        target.remove_work()
    return record, target


def _check_still_true(known: RunRecord, experiment: Experiment, directory: RunDirectory) -> None:
    """Refuse to repeat the result of an evaluation whose rows or model have changed."""
    _local_base(experiment, directory)
    trained_values(directory)
    rows = experiment.task.load(experiment.task.eval_split, experiment.config.task.data_dir).origin
    if known.data["evaluation"].get("sha256") != rows["sha256"]:
        changed = "its rows"
    elif known.adapter_files != directory.read_record().adapter_files:
        changed = "the trained values"
    else:
        return
    raise UserError(f"{directory.path}: evaluated already, and {changed} have changed since; --force evaluates again")


def record_failed_evaluation(directory: RunDirectory, changes: Settings, failure: Failure) -> None:
    """Leave a record that says why a finished run's model could not be evaluated with some changes. A result that is
    there stays.
    """
    directory.check_kinds()
    experiment = resolve(_changed(directory, changes))
    target = evaluation_directory(directory, experiment)
    if target.record.is_file() and target.read_record().status == "ok":
        return
    unknown: dict[str, Any] = {"metrics": None, "initial_metrics": None, "epoch_metrics": [], "eval_seconds": None}
    changed = {**evaluation_fields(experiment), **failure._asdict(), **unknown}
    target.path.mkdir(parents=True, exist_ok=True)
    write_json(target.record, directory.read_record().model_copy(update=changed).model_dump())


def evaluation_directory(directory: RunDirectory, experiment: Experiment) -> RunDirectory:
    """Where the model of a run is put on record as evaluated by the settings of an experiment."""
    named = directory.path / "evaluations" / f"{experiment.task.name}_{config_hash(experiment.config)}"
    return RunDirectory(folder_of(experiment.config, named))


def _changed(directory: RunDirectory, changes: Settings) -> Settings:
    """The run's settings with the changes, where these do not touch its training."""
    settings = _settings_of(directory)
    before = settings.values["task"]
    if "name" in (changes.values.get("task") or {}) and before["name"] != changes.values["task"]["name"]:
        if "train_on" not in before:
            raise UserError(
                f"{directory.path}: {before['family']} {before['name']} is its own training task; no other fits"
            )
        settings.update({"task": {"train_on": before["train_on"] or before["name"]}}, "the run")
    settings.update(changes.values, "command line")
    for key, value in leaves(changes.values):
        if key not in EVALUATION_SETTINGS:
            allowed = ", ".join(sorted(EVALUATION_SETTINGS))
            raise UserError(f"--set {key}={value}: the run is trained already; what can change is {allowed}")
    return settings


def _evaluated(
    experiment: Experiment, directory: RunDirectory, observer: Observer, base: str | None
) -> tuple[RunRecord, list[dict[str, Any]]]:
    from rocoft_bench.engine.accelerator import make_accelerator
    from rocoft_bench.engine.interrupt import GracefulStop
    from rocoft_bench.engine.prediction import NotFiniteError

    task, config = experiment.task, experiment.config
    notes: list[str] = []
    split = limited(task.load(task.eval_split, config.task.data_dir), config.task.max_eval_rows, "evaluation", notes)
    trained = _load(experiment, directory, base)
    settings = fitted_settings(task, config.task, limits(experiment, trained.model, trained.tokenizer), notes)
    rows = encoded(task, split, trained.tokenizer, settings, False, notes)
    record = directory.read_record()
    notes += [*trained.notes, *_changed_rows(record, rows.origin)]
    accelerator = make_accelerator(config.training.precision)
    batch_size = config.training.eval_batch_size
    evaluator = make_evaluator(task, rows, trained.tokenizer, settings, batch_size, accelerator, observer)
    for note in notes:
        observer.note(note)
    started = time.perf_counter()
    try:
        with GracefulStop() as stop:
            evaluation = evaluator.run(trained.model.to(accelerator.device), stop)
    except NotFiniteError as error:
        raise UserError(f"{directory.path}: {error}") from None
    of_training = [note for note in record.notes if "evaluation" not in note]
    changed = {
        **evaluation_fields(experiment),
        "data": {**record.data, "evaluation": rows.origin, "eval_rows": len(rows.raw)},
        "metrics": evaluation.metrics,
        "initial_metrics": None,
        "epoch_metrics": [],
        "eval_seconds": round(time.perf_counter() - started, 3),
        "notes": [*of_training, *(note for note in notes if note not in of_training)],
    }
    return record.model_copy(update=changed), list(prediction_lines(task, rows, evaluation))


def _changed_rows(record: RunRecord, origin: dict[str, Any]) -> list[str]:
    """A note where the rows are from the place that a run was evaluated on, and are not those of then."""
    before = record.data.get("evaluation", {})
    same_place = all(before.get(key) == origin.get(key) for key in ("kind", "path", "id", "config", "split"))
    if not same_place or before.get("sha256") in (None, origin["sha256"]):
        return []
    return ["the evaluation rows have changed since the run was trained and evaluated on them"]


def answer(trained: TrainedModel, text: str, text_pair: str | None) -> str:
    """What the model says to one input, in the words of its task.

    Raises:
        UserError: If the task takes one text and two are given, or the other way round, or one is no text.
    """
    import torch
    from datasets import Dataset

    task, settings = trained.experiment.task, trained.experiment.config.task
    texts = [text] if text_pair is None else [text, text_pair]
    if len(texts) != len(task.text_columns):
        wanted = " and ".join(
            f"{option} ({name})" for option, name in zip(TEXT_OPTIONS, task.text_columns, strict=False)
        )
        raise UserError(f"{task.family} {task.name} takes {wanted}")
    for option, given in zip(TEXT_OPTIONS, texts, strict=False):
        if not is_text(given):
            raise UserError(f"{option}: is not UTF-8 text")
    rows = Dataset.from_list([task.question(*texts)])
    settings = task.fitted(task.for_questions(settings), *limits(trained.experiment, trained.model, trained.tokenizer))
    encoded = task.encode(rows, trained.tokenizer, settings, training=False).rows
    predictor = predictor_for(task, settings, trained.tokenizer)
    with torch.no_grad():
        outputs = [predictor(trained.model, predictor.collate([row]))[0] for row in encoded]
    return task.in_words(task.read(outputs, encoded, rows, trained.tokenizer, settings)[0])


def export(directory: RunDirectory, folder: Path, base: str | None = None) -> tuple[str, ...]:
    """Write a finished run's model, all trained values merged, as a plain checkpoint that transformers loads by itself.

    base: as in `load_run`. It is put in place whole. Returns what is to be said of it.

    Raises:
        UserError: If the run is not finished or cannot be merged, or the folder is in use or cannot be written.
    """
    from safetensors import SafetensorError

    experiment = experiment_of(directory)
    experiment.method.check_mergeable()
    remove_leftovers(folder.absolute().parent, folder.name)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UserError(f"{folder}: exists already and is not an empty folder; choose another")
    trained = _load(experiment, directory, base)
    merged: Any = experiment.method.merge(trained.model)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_replacement(folder) as made:
            merged.save_pretrained(made, safe_serialization=True)
            trained.tokenizer.save_pretrained(made)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be written ({reason(error)})") from None
    return trained.notes
