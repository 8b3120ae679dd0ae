"""`rocoft ls`: what there is to run."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from rocoft_bench.cli.columns import aligned
from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import Plugins, app

What = StrEnum("What", ["tasks", "methods", "models"])


@app.command(epilog="Example: rocoft ls methods")
def ls(what: Annotated[What, typer.Argument(help="tasks, methods or models")], plugins: Plugins = None) -> None:
    """List the tasks, the fine-tuning methods or the known models."""
    table = {What.tasks: _tasks, What.methods: _methods, What.models: _models}[what]
    asked = os.environ.get("COLUMNS", "")  # a list is for readers, in a pager or a window of a program too
    say(aligned(table(), int(asked) if asked.isdigit() and int(asked) else None))


def _tasks() -> list[list[str]]:
    from rocoft_bench.tasks import OWN_FAMILIES, TASKS

    rows = [["family", "task", "metrics", "evaluated on", "random baseline", "data"]]
    for name, task in TASKS.items():
        metrics = ", ".join(task.metric_names)
        baseline = f"{100 * task.random_baseline:.1f}"
        source = f"{task.source} ({plugin})" if (plugin := TASKS.origin(name)) else task.source
        rows.append([task.family, task.name, metrics, task.eval_split, baseline, source])
    for task in OWN_FAMILIES.values():
        rows.append([task.family, "(yours)", ", ".join(task.metric_names), task.eval_split, "", task.source])
    return rows


def _methods() -> list[list[str]]:
    from rocoft_bench.methods import METHODS

    rows = [["method", "trains", "provider", "mergeable", "learning rate", "weight decay", "reference", "settings"]]
    for method in METHODS.values():
        settings = ", ".join(method.Settings.model_fields) or "-"
        mergeable = "yes" if method.mergeable else "no"
        training = [f"{method.learning_rate:g}", f"{method.weight_decay:g}"]
        provider = str(METHODS.origin(method.name) or method.provider)
        rows.append([method.name, method.trains, provider, mergeable, *training, method.reference, settings])
    return rows


def _models() -> list[list[str]]:
    from rocoft_bench.models import KNOWN_MODELS

    rows = [["name", "hub id", "revision", "used for"]]
    rows += [[model.alias, model.hub_id, model.revision[:10], model.note] for model in KNOWN_MODELS]
    return [*rows, ["any other", "owner/name or a local folder", "main", ""]]
