"""The model of a finished run, loaded again: its base model and its trained values, both checked to be the run's."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rocoft_bench import models
from rocoft_bench.config import ROW_PATHS, Settings, read_settings
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.build import load_base
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.methods.in_model import FILE_NAME as OWN_FILE
from rocoft_bench.models import PEFT_CONFIG, ModelSource
from rocoft_bench.plugins import changed_since, check_present
from rocoft_bench.runs import RunDirectory, can_be_compared, other_weights, read_provenance


@dataclass(frozen=True)
class TrainedModel:
    """The base model with a run's trained values, ready to answer. notes: what is to be said of it."""

    experiment: Experiment
    model: Any
    tokenizer: Any
    notes: tuple[str, ...] = ()


def load_run(directory: RunDirectory, base: str | None = None) -> TrainedModel:
    """Load the model of a finished run. base: where its base model is now; by default where the run had it.

    Raises: UserError if the run is not finished, its files are damaged, or its base model cannot be had or is another
    one.
    """
    return load_trained(experiment_of(directory), directory, base)


def experiment_of(directory: RunDirectory) -> Experiment:
    """What a finished run did. Loads nothing.

    Raises: UserError if the run is not finished, or its config.yaml is not the one that its record is of.
    """
    experiment = resolve(settings_of(directory))
    record, config = directory.read_record(), experiment.config
    task = config.task.model_dump(mode="json")
    stated = {"family": record.task["family"], "name": record.task["name"], **record.task.get("settings", {})}
    for path in ROW_PATHS:  # rows may lie elsewhere now
        stated.pop(path.removeprefix("task."), None)
    differing = [f"task.{key}" for key, value in stated.items() if task.get(key, value) != value]
    differing += [f"method.{key}" for key, value in record.method.items() if config.method.get(key) != value]
    differing += ["seed"] if record.seed != config.seed else []
    if differing:
        raise UserError(
            f"{directory.config}: {differing[0]} is not what the run's record says; one of them was changed"
        )
    return experiment


def settings_of(directory: RunDirectory) -> Settings:
    record = directory.read_record()
    if record.status != "ok":
        raise UserError(f"{directory.path}: the run has no result (status {record.status}: {record.error})")
    check_present(_plugins_of(directory), str(directory.path))
    return read_settings(directory.config)


def _plugins_of(directory: RunDirectory) -> Any:
    """What the run's provenance says of plug-ins; it names them, and nothing is loaded for it."""
    return (read_provenance(directory.path) or {}).get("plugins")


def load_trained(experiment: Experiment, directory: RunDirectory, base: str | None) -> TrainedModel:
    folder = trained_values(directory)
    based, source, notes = locate_base(experiment, directory, base)
    model, tokenizer, _ = load_base(based, source)
    if source.revision is not None:
        notes = _check_base(based, source.origin(model.config), directory)
    notes = (*notes, *changed_since(_plugins_of(directory)))
    model = experiment.method.load(model, folder, experiment.task.kind)
    return TrainedModel(experiment, model.eval(), tokenizer, notes)


def locate_base(
    experiment: Experiment, directory: RunDirectory, base: str | None
) -> tuple[Experiment, ModelSource, tuple[str, ...]]:
    """The experiment with its base model where that is now (`base`, if it is not where the run had it), the model's
    source, and what `_check_base` notes of one in a folder; of one of the hub, the commit is known only when it is
    loaded.
    """
    if base is not None:
        model = experiment.config.model.model_copy(update={"name": base, "revision": None})
        experiment = replace(experiment, config=experiment.config.model_copy(update={"model": model}))
    config = experiment.config.model
    try:
        source = models.locate(config)
    except UserError as error:
        raise UserError(f"{error}; --model says where the base model is now") from None
    if source.revision is None:
        return experiment, source, _check_base(experiment, source.origin(None), directory)
    if directory.read_record().model.get("kind") == "folder":
        raise UserError(
            f"{directory.path}: its base model is the folder {config.name}, which is not here; "
            "--model says where the base model is now"
        )
    return experiment, source, ()


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

    Raises: UserError if they are not there or not as the run's record states them.
    """
    damage = directory.damage(directory.read_record()) if directory.adapter.is_dir() else None
    if damage is not None:
        raise UserError(f"{damage}; run its command again")
    for folder in (directory.adapter, directory.path):
        if any((folder / name).is_file() for name in (PEFT_CONFIG, OWN_FILE)):
            return folder
    raise UserError(f"{directory.path}: only the record is here, not the trained values; run its command again")
