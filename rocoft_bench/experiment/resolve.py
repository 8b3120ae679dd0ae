"""From settings to an experiment that can be run: everything checked, nothing loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from glob import escape
from pathlib import Path
from typing import Any

from rocoft_bench import methods, models, tasks
from rocoft_bench.config import OF_THE_METHOD, ModelConfig, RunConfig, Settings, TaskConfig, read_settings, validate
from rocoft_bench.errors import UserError
from rocoft_bench.methods import Method
from rocoft_bench.plugins import used
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

    @property
    def plugins(self) -> list[dict[str, Any]]:
        """The plug-ins that its method, task and metrics are from, for provenance."""
        task = f"{self.task.family} {self.task.name}"
        return used({"method": [self.method.name], "task": [task], "metric": self.task.metric_names})

    def folder_in(self, root: Path) -> Path:
        """The folder of the run below the folder of all runs."""
        return folder_of(self.config, root / self.run_name)


def resolve(settings: Settings) -> Experiment:
    """Check all settings and complete them with the method's defaults. Loads neither data nor torch.

    Raises:
        UserError: If anything in the settings is unknown or out of range.
    """
    task = tasks.named_in(settings.values)
    config = validate(settings, task.Settings if task else TaskConfig)
    task = task or tasks.get(config.task.family, config.task.name)
    _check_head(config.model, task.kind)
    method = methods.resolve(config.method, settings.sources, task.kind, config.model.name)
    method.check_supports(task.kind, models.model_type_of(config.model.name))
    method.check_training(config.training)
    changes: dict[str, Any] = {"method": {"name": method.name, **method.settings.model_dump()}}
    own = {key: getattr(method, key) for key in OF_THE_METHOD if key not in config.training.model_fields_set}
    changes["training"] = config.training.model_copy(update=own)
    settings.sources |= {f"training.{key}": f"default of {method.name}" for key in own}
    notes = (*_own_settings_note(method, own, settings), *method.notes(settings.sources))
    return Experiment(config.model_copy(update=changes), task, method, notes)


def _check_head(model: ModelConfig, task_kind: str) -> None:
    if model.head != "fresh" and task_kind not in models.TASKS_WITH_HEAD:
        raise UserError(f'model.head = "{model.head}": a {task_kind} model has no task head; leave it out')


def restored(config: dict[str, Any], notes: Iterable[str]) -> Experiment:
    """The experiment that complete settings and notes, as one process tells them to another, are of."""
    return replace(resolve(Settings(config)), notes=tuple(notes))


def folder_of(config: RunConfig, named: Path) -> Path:
    """The folder whose name ends in a configuration's hash or, where there is none, one that an earlier version named:
    its name differs in the hash alone, but its config.yaml amounts to the same.
    """
    identity = config_hash(config)
    if os.path.lexists(named):
        return named
    others = sorted(named.parent.glob(f"{escape(named.name.removesuffix(identity))}*/config.yaml"))
    return next((o.parent for o in others if _identity(o, o.stat().st_mtime_ns, Path.cwd()) == identity), named)


@cache
def _identity(file: Path, changed_ns: int, working_directory: Path) -> str | None:
    """What a run's config.yaml amounts to by the present rules; relative paths in it are of the working directory."""
    try:
        return config_hash(resolve(read_settings(file)).config)
    except UserError:  # no setting of today
        return None


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
