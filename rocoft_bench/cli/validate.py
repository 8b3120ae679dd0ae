"""`rocoft validate`: is a config right, and what does it amount to?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rocoft_bench.cli.text import aligned

if TYPE_CHECKING:
    from rocoft_bench.config import Settings, Sweep
    from rocoft_bench.experiment import Experiment

EPILOG = """Examples:

  rocoft validate glue/rte.yaml --set method.rank=1

  rocoft validate table1_roberta_base.yaml
"""


def register(app: typer.Typer) -> None:
    app.command("validate", epilog=EPILOG)(validate)


def validate(
    config: Annotated[str, typer.Argument(help="YAML file, also by its path below the shipped configs/.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")
    ] = None,
) -> None:
    """Check a config without loading anything, and show all its settings with where each value comes from.

    Of a sweep, every run is checked and the methods are shown.
    """
    from rocoft_bench.config import find_config, read_settings, read_sweep

    file = find_config(config)
    sweep = read_sweep(file)
    typer.echo(_settings(read_settings(file), assignments or []) if sweep is None else _runs(sweep, assignments or []))
    typer.echo("valid")


def _settings(settings: Settings, assignments: list[str]) -> str:
    from rocoft_bench.config import leaves
    from rocoft_bench.runs import config_values

    resolved = _resolved(settings, assignments).config
    rows = [["setting", "value", "from"]]
    rows += [[key, str(value), settings.sources.get(key, "default")] for key, value in leaves(config_values(resolved))]
    return aligned(rows)


def _resolved(settings: Settings, assignments: list[str]) -> Experiment:
    from rocoft_bench import experiment as spine
    from rocoft_bench.config import parse_assignment

    for assignment in assignments:
        settings.update(parse_assignment(assignment), f"--set {assignment}")
    return spine.resolve(settings)


def _runs(sweep: Sweep, assignments: list[str]) -> str:
    """The methods of a sweep with their settings, and how many runs there are.

    Raises:
        UserError: Every run that is wrong, by its place on the axes; the same problem once.
    """
    from rocoft_bench.errors import UserError

    methods: dict[tuple[str, str], int] = {}
    problems: dict[str, str] = {}
    for point, settings in sweep.runs():
        try:
            experiment = _resolved(settings, assignments)
        except UserError as error:
            problems.setdefault(str(error), _place(point))
            continue
        method = experiment.method
        words = ", ".join(f"{key} {_plain(value)}" for key, value in method.settings.model_dump().items()) or "-"
        methods[method.label, words] = methods.get((method.label, words), 0) + 1
    if problems:
        raise UserError("\n".join(f"{sweep.path}: {place}: {error}" for error, place in problems.items()))
    rows = [["method", "runs", "settings"], *([label, str(n), words] for (label, words), n in methods.items())]
    sizes = " x ".join(f"{len(values)} {axis}" for axis, values in sweep.axes.items())
    return f"{aligned(rows)}\n{sum(methods.values())} runs: {sizes}"


def _place(point: dict[str, Any]) -> str:
    return ", ".join(f"{axis} {_plain(value)}" for axis, value in point.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values())
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
