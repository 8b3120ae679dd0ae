"""The tasks, by family and name. To add one: a file that makes its `TASKS`, listed below, or a plug-in.

Importing this module loads neither torch nor datasets; a task loads them when it is used.
"""

from dataclasses import replace
from typing import Any

from rocoft_bench.errors import UserError, shortened, suggest
from rocoft_bench.plugins import Registry
from rocoft_bench.tasks import commonsense, embedded, fewshot, glue, math, own, squad, summarization
from rocoft_bench.tasks.data import HubDataset
from rocoft_bench.tasks.task import LoadedSplit, Task

__all__ = ["OWN_FAMILIES", "TASKS", "HubDataset", "LoadedSplit", "Task", "all_tasks", "get", "named_in", "of_family"]


TASKS: Registry[Task] = Registry(
    "task",
    "rocoft.tasks",
    lambda task: f"{task.family} {task.name}",
    [task for module in (glue, squad, summarization, commonsense, math, fewshot, embedded) for task in module.TASKS],
    lambda task: None if isinstance(task, Task) else "an object of a subclass of Task is wanted",
)
"""By family and name, with a blank between them."""


OWN_FAMILIES = own.FAMILIES
"""The kinds of task on examples of the user's own, which may have any name."""


def all_tasks() -> list[Task]:
    """Every task, family by family."""
    return list(TASKS.values())


def named_in(values: dict[str, Any]) -> Task | None:
    """The task that the settings of a config name; None where they are not complete enough to name one.

    Raises: UserError as `get`.
    """
    section = values.get("task")
    family, name = (section.get("family"), section.get("name")) if isinstance(section, dict) else (None, None)
    if isinstance(family, str) and family in own.FAMILIES:
        return own.FAMILIES[family]
    return get(family, name) if isinstance(family, str) and isinstance(name, str) else None


def of_family(family: str) -> dict[str, Task]:
    """The tasks of a family by name; of one of own examples, the one without settings.

    Raises: UserError with the families allowed and the nearest one.
    """
    if family in own.FAMILIES:
        return {own.FAMILIES[family].name: own.FAMILIES[family]}
    tasks = {task.name: task for task in TASKS.values() if task.family == family}
    if not tasks:
        allowed = {task.family for task in TASKS.values()} | set(own.FAMILIES)
        raise UserError(f'unknown task family "{shortened(family)}": {suggest(family, allowed)}')
    return tasks


def get(family: str, name: str) -> Task:
    """The task `name` of `family`; one of own examples is called as the user likes.

    Raises: UserError with the names allowed and the nearest one.
    """
    if family in own.FAMILIES:
        return replace(own.FAMILIES[family], name=name)
    tasks = of_family(family)
    if name not in tasks:
        raise UserError(f'unknown {family} task "{shortened(name)}": {suggest(name, tasks)}')
    return TASKS.find(f"{family} {name}")
