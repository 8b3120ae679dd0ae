"""The tasks, by family and name. To add a family: one file that makes its `TASKS`, and one entry in `_FAMILIES`.

Importing this module loads neither torch nor datasets; a task loads them when it is used.
"""

from __future__ import annotations

from typing import Any

from rocoft_bench.errors import UserError, shortened, suggest
from rocoft_bench.tasks import commonsense, embedded, glue, math, squad, summarization
from rocoft_bench.tasks.task import HubDataset, LoadedSplit, Task

__all__ = ["HubDataset", "LoadedSplit", "Task", "all_tasks", "get", "named_in", "of_family"]

_FAMILIES: dict[str, dict[str, Task]] = {
    "glue": {task.name: task for task in glue.TASKS},
    "squad": {task.name: task for task in squad.TASKS},
    "summarization": {task.name: task for task in summarization.TASKS},
    "commonsense": {task.name: task for task in commonsense.TASKS},
    "math": {task.name: task for task in math.TASKS},
    "demo": {task.name: task for task in embedded.TASKS},
}


def all_tasks() -> list[Task]:
    """Every task, family by family."""
    return [task for tasks in _FAMILIES.values() for task in tasks.values()]


def named_in(values: dict[str, Any]) -> Task | None:
    """The task that the settings of a config name; None where they are not complete enough to name one.

    Raises: UserError as `get`.
    """
    section = values.get("task")
    family, name = (section.get("family"), section.get("name")) if isinstance(section, dict) else (None, None)
    return get(family, name) if isinstance(family, str) and isinstance(name, str) else None


def of_family(family: str) -> dict[str, Task]:
    """The tasks of a family by name.

    Raises: UserError with the families allowed and the nearest one.
    """
    if family not in _FAMILIES:
        raise UserError(f'unknown task family "{shortened(family)}": {suggest(family, _FAMILIES)}')
    return _FAMILIES[family]


def get(family: str, name: str) -> Task:
    """The task `name` of `family`.

    Raises: UserError with the names allowed and the nearest one.
    """
    tasks = of_family(family)
    if name not in tasks:
        raise UserError(f'unknown {family} task "{shortened(name)}": {suggest(name, tasks)}')
    return tasks[name]
