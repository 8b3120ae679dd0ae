"""`rocoft prefetch`: everything that runs will need, while there is internet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.filesize import decimal

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import Plugins, a_setting, app
from rocoft_bench.config import find_config, read_settings, read_sweep
from rocoft_bench.errors import UserError

if TYPE_CHECKING:
    from rocoft_bench.experiment.resolve import Experiment
    from rocoft_bench.prefetch.needs import Need

EPILOG = """Examples:

  rocoft prefetch glue/rte.yaml glue/cola.yaml

  rocoft prefetch --check summarization/xsum.yaml my-own.yaml

  rocoft prefetch table1_roberta_base.yaml
"""


@app.command(epilog=EPILOG)
def prefetch(
    configs: Annotated[
        list[str], typer.Argument(help="YAML files of runs or sweeps, also by their path below the shipped configs/.")
    ],
    check: Annotated[bool, typer.Option("--check", help="Only ask whether all is there, and how large it is.")] = False,
    assignments: Annotated[list[str] | None, a_setting(help="Override a setting in each config.")] = None,
    plugins: Plugins = None,
) -> None:
    """Fetch the models and rows of configs into the cache, so that their runs need no internet.

    Of a sweep, all that its runs and their evaluations need, each thing once. Exit code 1 if something cannot be had.
    """
    from huggingface_hub import constants

    from rocoft_bench.prefetch.needs import needs

    if check and constants.is_offline_mode():
        raise UserError(
            "--check asks the hub, but offline mode is on (HF_HUB_OFFLINE); without it the cache is looked at"
        )
    wanted = needs(experiment for config in configs for experiment in _experiments(config, assignments or []))
    sizes = [_line(need, check) for need in wanted]
    had = [size for size in sizes if size is not None]
    state = "can be had" if check else "ready"
    say(f"{len(had)} of {len(wanted)} {state}{_size(sum(had), ', in all ')}")
    if len(had) < len(wanted):
        raise typer.Exit(1)
    if not check:
        say(f"for runs without internet: export HF_HOME={constants.HF_HOME} HF_HUB_OFFLINE=1")


def _experiments(config: str, assignments: list[str]) -> Iterator[Experiment]:
    """What a file of settings or a sweep runs, and the evaluations of a sweep's runs on other tasks."""
    from rocoft_bench.experiment.resolve import resolve

    sweep = read_sweep(find_config(config))
    if sweep is None:
        settings = read_settings(find_config(config))
        settings.assign(assignments)
        yield resolve(settings)
        return
    for _, settings in sweep.runs(assignments):
        yield resolve(settings)
        for changed in sweep.evaluation_settings(settings):
            yield resolve(changed)


def _line(need: Need, check: bool) -> int | None:
    """Fetch one thing, or ask for it, and print what came of it; its size, None if it cannot be had."""
    try:
        found = need.check() if check else need.fetch()
    except UserError as error:
        say(f"✗ {error}")
        return None
    say(f"✓ {need.what}: {found.detail}{_size(found.size, ', ')}")
    return found.size


def _size(size: int, before: str) -> str:
    """In decimal units, as the hub counts; nothing where it is not known."""
    return f"{before}{decimal(size)}" if size else ""
