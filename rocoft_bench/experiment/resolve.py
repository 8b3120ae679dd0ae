"""From settings to an experiment that can be run: everything checked, nothing loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rocoft_bench import methods, models, tasks
from rocoft_bench.config import (
    ROW_PATHS,
    ModelConfig,
    RunConfig,
    Settings,
    TaskConfig,
    TrainingConfig,
    defaults_of,
    validate,
)
from rocoft_bench.errors import UserError
from rocoft_bench.methods import Method
from rocoft_bench.models.weights import weights_sha256
from rocoft_bench.plugins import used
from rocoft_bench.runs import config_values, folder_of
from rocoft_bench.runs.identity import MODEL, Identity, Parts, row_hashes
from rocoft_bench.tasks import Task


@dataclass(frozen=True)
class Experiment:
    """A checked configuration with the task and the method that it names.

    notes: how the run differs from what its name says, as far as that is known before anything is loaded.
    """

    config: RunConfig
    task: Task
    method: Method
    notes: tuple[str, ...] = ()

    @cached_property
    def identity(self) -> Identity:
        """What makes another run the same."""
        config, method = self.config, self.method
        return Identity(
            values=config_values(config),
            defaults={
                "task": defaults_of(type(config.task)),
                "model": defaults_of(ModelConfig),
                "method": methods.defaults(type(method), self.task.kind, config.model.name),
                "training": defaults_of(TrainingConfig),
                "seed": 0,
            },
            ignored=frozenset(f"method.{key}" for key in method.ignored_settings),
            contents=_contents(self.task, config),
        )

    @property
    def run_name(self) -> str:
        """Folder name: readable, and different for every different run."""
        return f"{self._readable_name}{self.identity.config_hash}"

    @property
    def _readable_name(self) -> str:
        config = self.config
        name = f"{Path(config.model.name).name}_{self.method.label}_seed{config.seed}_"
        return f"{config.task.family}-{config.task.name}/{name}".replace(" ", "-")

    @property
    def plugins(self) -> list[dict[str, Any]]:
        """The plug-ins that its method, task and metrics are from, for provenance."""
        task = f"{self.task.family} {self.task.name}"
        return used({"method": [self.method.name], "task": [task], "metric": self.task.metric_names})

    def folder_in(self, root: Path) -> Path:
        """The folder of the run below the folder of all runs."""
        return folder_of(self.identity, root / self._readable_name)


def resolve(settings: Settings) -> Experiment:
    """Check all settings and complete them with the method's defaults. Loads neither data nor torch.

    Raises: UserError if anything in the settings is unknown or out of range.
    """
    task = tasks.named_in(settings.values)
    config = validate(settings, task.Settings if task else TaskConfig)
    _check_model_is_named(config)
    task, section = (task or tasks.get(config.task.family, config.task.name)).bound(config.task)
    task = task.seeded(config.seed)
    found = [key for key, value in section if value != getattr(config.task, key)]
    settings.sources |= {f"task.{key}": "the examples" for key in found}
    if config.model.head != "fresh" and task.kind not in models.TASKS_WITH_HEAD:
        raise UserError(f'model.head = "{config.model.head}": a {task.kind} model has no task head; leave it out')
    method = methods.resolve(config.method, settings.sources, task.kind, config.model.name)
    method.check_supports(task.kind, models.model_type_of(config.model.name))
    method.check_training(config.training)
    method.check_model(config.model)
    changes: dict[str, Any] = {"task": section, "method": {"name": method.name, **method.settings.model_dump()}}
    defaults = method.training_defaults(task.kind)
    own = {key: value for key, value in defaults.items() if key not in config.training.model_fields_set}
    changes["training"] = config.training.model_copy(update=own)
    settings.sources |= {f"training.{key}": f"default of {method.name}" for key in own}
    notes = (*_own_settings_note(method, own, settings), *method.notes(settings.sources))
    return Experiment(config.model_copy(update=changes), task, method, notes)


def _check_model_is_named(config: RunConfig) -> None:
    """The default model is an encoder: it does for labels and spans, and writes nothing."""
    own = tasks.OWN_FAMILIES.get(config.task.family)
    if own is not None and own.kind not in models.TASKS_WITH_HEAD and "name" not in config.model.model_fields_set:
        wanted = models.AUTO_CLASSES[own.kind]
        raise UserError(f"--model is missing: {own.family} needs one that transformers loads with {wanted}")


def _contents(task: Task, config: RunConfig) -> dict[str, Callable[[], Parts]]:
    """How to look up the content of the settings that are paths."""
    found: dict[str, Callable[[], Parts]] = {}
    for key in ROW_PATHS:
        if getattr(config.task, key.removeprefix("task."), None) is not None:
            found[key] = partial(_rows, task, config.task)
    if Path(config.model.name).is_absolute():  # as the schema keeps a folder
        found[MODEL] = partial(_weights, Path(config.model.name))
    return found


def _rows(task: Task, settings: Any) -> Parts:
    try:
        train, evaluation = (part.sha256_of(split, settings.data_dir) for part, split in task.splits(settings))
    except UserError:  # the run itself says so
        return row_hashes(None, None)
    return row_hashes(train, evaluation)


def _weights(folder: Path) -> Parts:
    try:
        there = any(folder.glob("*.safetensors"))
        return {"weights": weights_sha256(folder, unless_known=True) if there else None}
    except OSError:
        return {"weights": None}


def _own_settings_note(method: Method, own: dict[str, float], settings: Settings) -> tuple[str, ...]:
    """Says so where a config's values were not used, because they were there for another method."""
    left, other = settings.dropped_with_method or ({}, "")
    changed = [
        f"{key.replace('_', ' ')} {own[key]:g} (the config's {value} is {other}'s)"
        for key, value in left.items()
        if key in own and own[key] != value
    ]
    if not changed:
        return ()
    return (f"{method.name} has its own {' and '.join(changed)}; warm-up, schedule and model dropout are the config's",)
