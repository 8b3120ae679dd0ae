"""`rocoft validate`: is a config right, and what does it amount to?"""

from __future__ import annotations

from typing import Annotated

import typer

from rocoft_bench.cli.text import aligned


def register(app: typer.Typer) -> None:
    app.command("validate", epilog="Example: rocoft validate glue/rte.yaml --set method.rank=1")(validate)


def validate(
    config: Annotated[str, typer.Argument(help="YAML file, also by its path below the shipped configs/.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")
    ] = None,
) -> None:
    """Check a config without loading anything, and show all its settings with where each value comes from."""
    from rocoft_bench import experiment as spine
    from rocoft_bench.config import find_config, leaves, parse_assignment, read_settings
    from rocoft_bench.runs import config_values

    settings = read_settings(find_config(config))
    for assignment in assignments or []:
        settings.update(parse_assignment(assignment), f"--set {assignment}")
    resolved = spine.resolve(settings).config
    rows = [["setting", "value", "from"]]
    rows += [[key, str(value), settings.sources.get(key, "default")] for key, value in leaves(config_values(resolved))]
    typer.echo(aligned(rows))
    typer.echo("valid")
