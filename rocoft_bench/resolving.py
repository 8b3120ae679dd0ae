"""From settings to an experiment that can be run: everything checked, nothing loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rocoft_bench import methods, models, tasks
from rocoft_bench.config import RunConfig, Settings, TaskConfig, validate
from rocoft_bench.methods import Method
from rocoft_bench.runs import config_hash
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

    @property
    def run_name(self) -> str:
        """Folder name: readable, and different for every different configuration."""
        c = self.config
        model = Path(c.model.name).name
        return f"{c.task.family}-{c.task.name}/{model}_{self.method.label}_seed{c.seed}_{config_hash(c)}".replace(
            " ", "-"
        )


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


def restored(config: dict[str, Any], notes: Iterable[str]) -> Experiment:
    """The experiment that complete settings and notes, as one process tells them to another, are of."""
    return replace(resolve(Settings(config)), notes=tuple(notes))


def _rate_note(method: Method, config: RunConfig, settings: Settings) -> tuple[str, ...]:
    """Says so where a config's learning rate was not used, because it was there for another method."""
    if settings.left_behind is None or "learning_rate" in config.training.model_fields_set:
        return ()
    rate, other = settings.left_behind
    return (
        f"the learning rate is {method.name}'s default, {method.learning_rate:g}; the config's {rate} is {other}'s",
    )
