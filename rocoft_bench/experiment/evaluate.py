"""The model of a finished run, evaluated once more: on another task of its family, or by another protocol."""

import time
from dataclasses import replace
from typing import Any

import yaml

from rocoft_bench.config import Settings, flatten
from rocoft_bench.engine.interrupt import GracefulStop
from rocoft_bench.engine.observer import Observer
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.encoded_split import encode, fitted_settings, limited, make_evaluator, prediction_lines
from rocoft_bench.experiment.resolve import Experiment, resolve
from rocoft_bench.experiment.run_record import evaluation_fields, prompt_facts
from rocoft_bench.experiment.trained_model import (
    experiment_of,
    load_trained,
    locate_base,
    settings_of,
    trained_values,
)
from rocoft_bench.runs import (
    Failure,
    RunDirectory,
    RunRecord,
    config_values,
    folder_of,
    provenance,
    remove_leftovers,
    write_json,
    write_json_lines,
    write_text,
)

EVALUATION_SETTINGS = {
    "task.name",
    "task.data_dir",
    "task.eval_file",
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


def evaluate(
    directory: RunDirectory, changes: Settings, observer: Observer, force: bool = False, base: str | None = None
) -> tuple[RunRecord, RunDirectory]:
    """Evaluate the model of a finished run once more: on another task of its family, by another protocol.

    changes: settings of the task (not those of its training) and `training.eval_batch_size`. The result is a record
    of its own below the run's folder, with the training's facts; one that is there already is left alone. base: as in
    `load_run`.

    Raises: UserError if the run is not finished, a setting would have changed the training, the examples cannot be had,
    or the record that is there is of other examples or another model than there are now.
    """
    experiment = resolve(_changed(directory, changes))
    directory.check_kinds()
    target = evaluation_directory(directory, experiment)
    target.check_kinds()
    if target.record.is_file() and not force and (known := target.read_record()).status == "ok":
        remove_leftovers(target.path)  # of a process that died at the very end
        _check_still_true(known, experiment, directory, base)
        return known, target
    with target.locked():
        record, lines = _evaluated(experiment, directory, observer, base)
        write_text(target.config, yaml.safe_dump(config_values(experiment.config), sort_keys=False))
        write_json_lines(target.predictions, lines)
        write_json(target.provenance, provenance(experiment.plugins))
        write_json(target.record, record.model_dump())
        target.remove_work()
    return record, target


def _check_still_true(known: RunRecord, experiment: Experiment, directory: RunDirectory, base: str | None) -> None:
    """Refuse to repeat the result of an evaluation whose examples or model have changed."""
    locate_base(experiment, directory, base)
    trained_values(directory)
    origin = experiment.task.load(experiment.task.eval_split, experiment.config.task.data_dir).origin
    if known.data["evaluation"].get("sha256") != origin["sha256"]:
        changed = "its examples"
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
    identity, beginning = experiment.identity, directory.path / "evaluations" / f"{experiment.task.name}_"
    folder = folder_of(identity, beginning)
    if not folder.exists():  # what was evaluated before may have had other contents: that is refused, not repeated
        before = folder_of(replace(identity, contents={}), beginning)
        folder = before if before.exists() else folder
    return RunDirectory(folder)


def _changed(directory: RunDirectory, changes: Settings) -> Settings:
    """The run's settings with the changes, where these do not touch its training."""
    settings = settings_of(directory)
    experiment_of(directory)  # whatever is wrong with them is of the run, not of the changes
    before = settings.values["task"]
    if "name" in (changes.values.get("task") or {}) and before["name"] != changes.values["task"]["name"]:
        if "train_on" not in before:
            raise UserError(
                f"{directory.path}: {before['family']} {before['name']} is its own training task; no other fits"
            )
        settings.update({"task": {"train_on": before["train_on"] or before["name"]}}, "the run")
    if before.get("hold_out"):
        raise UserError(f"{directory.path}: is a trial of tuning, which nothing but held-out training rows may score")
    settings.update(changes.values, "command line")
    for key, value in flatten(changes.values):
        if key not in EVALUATION_SETTINGS:
            allowed = ", ".join(sorted(EVALUATION_SETTINGS))
            raise UserError(f"--set {key}={value}: the run is trained already; what can change is {allowed}")
    return settings


def _evaluated(
    experiment: Experiment, directory: RunDirectory, observer: Observer, base: str | None
) -> tuple[RunRecord, list[dict[str, Any]]]:
    from rocoft_bench.engine.failure import NotFiniteError

    task, config = experiment.task, experiment.config
    loaded = task.load(task.eval_split, config.task.data_dir)
    notes = list(loaded.notes)
    split = limited(loaded, config.task.max_eval_rows, "evaluation", notes)
    trained = load_trained(experiment, directory, base)
    settings = fitted_settings(experiment, config.task, trained.model, trained.tokenizer, notes)
    examples = encode(task, split, trained.tokenizer, settings, False, notes)
    record = directory.read_record()
    notes += [*trained.notes, *_changed_examples(record, examples.origin)]
    evaluator = make_evaluator(experiment, examples, trained.tokenizer, settings, observer)
    for note in notes:
        observer.note(note)
    started = time.perf_counter()
    try:
        with GracefulStop() as stop:
            evaluation = evaluator.run(trained.model.to(evaluator.accelerator.device), stop)
    except NotFiniteError as error:
        raise UserError(f"{directory.path}: {error}") from None
    of_training = [note for note in record.notes if "evaluation" not in note]
    changed = {
        **evaluation_fields(experiment),
        "data": {**record.data, "evaluation": examples.origin, "eval_rows": len(examples.raw)},
        "metrics": evaluation.metrics,
        "initial_metrics": None,
        "epoch_metrics": [],
        "eval_seconds": round(time.perf_counter() - started, 3),
        "prompt": _prompt(record, prompt_facts(task, settings, trained.tokenizer, trained.model, evaluation=examples)),
        "notes": [*of_training, *(note for note in notes if note not in of_training)],
    }
    return record.model_copy(update=changed), list(prediction_lines(task, examples, evaluation))


def _prompt(record: RunRecord, now: dict[str, Any]) -> dict[str, Any]:
    """What is recorded of the prompt, with how the training had it."""
    trained = record.prompt.get("template_version")
    if trained in (None, now.get("template_version")):
        return {**record.prompt, **now}
    return {**record.prompt, **now, "template_version": f"{now['template_version']}, trained with {trained}"}


def _changed_examples(record: RunRecord, origin: dict[str, Any]) -> list[str]:
    """A note where the examples are from the place that a run was evaluated on, and are not those of then."""
    before = record.data.get("evaluation", {})
    same_place = all(before.get(key) == origin.get(key) for key in ("kind", "path", "id", "config", "split"))
    if not same_place or before.get("sha256") in (None, origin["sha256"]):
        return []
    return ["the evaluation examples have changed since the run was trained and evaluated on them"]
