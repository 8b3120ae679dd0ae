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


MEMORY_UNKNOWN = "memory: unknown before the model's configuration is here (rocoft prefetch)"


def register(app: typer.Typer) -> None:
    app.command("validate", epilog=EPILOG)(validate)


def validate(
    config: Annotated[str, typer.Argument(help="YAML file, also by its path below the shipped configs/.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting.")
    ] = None,
) -> None:
    """Check a config without loading anything, and show all its settings with where each value comes from.

    Of a sweep, every run is checked and the methods are shown. The memory that a run will need is estimated for rows as
    long as task.max_length allows, on this machine's kind of device.
    """
    from rocoft_bench.config import find_config, read_settings, read_sweep

    file = find_config(config)
    sweep = read_sweep(file)
    typer.echo(_settings(read_settings(file), assignments or []) if sweep is None else _runs(sweep, assignments or []))
    typer.echo("valid")


def _settings(settings: Settings, assignments: list[str]) -> str:
    from rocoft_bench.config import leaves
    from rocoft_bench.runs import config_values

    experiment = _resolved(settings, assignments)
    resolved = experiment.config
    rows = [["setting", "value", "from"]]
    rows += [[key, str(value), settings.sources.get(key, "default")] for key, value in leaves(config_values(resolved))]
    return f"{aligned(rows)}\n{_memory(experiment)}"


def _memory(experiment: Experiment) -> str:
    """The estimate for one run."""
    from rocoft_bench import memory

    facts = memory.facts_of(experiment)
    if facts is None:
        return MEMORY_UNKNOWN
    estimate = memory.estimate(experiment, facts)
    parts = ", ".join(f"{part} {mib:,.0f}" for part, mib in estimate.parts.items() if mib)
    target = f" and {estimate.row.target}" if estimate.row.target else ""
    size = f"{estimate.rows} rows of {estimate.row.source}{target} tokens"
    return f"memory: about {_size(estimate.total)} (MiB: {parts}) at {size}; {'GPU' if estimate.on_gpu else 'CPU'}"


def _memory_range(needs: dict[str, float | None]) -> str:
    """The smallest and the largest estimate of a sweep's runs, by their places on the axes."""
    known = {place: mib for place, mib in needs.items() if mib is not None}
    if not known:
        return MEMORY_UNKNOWN
    least, most = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    unknown = f"; unknown for {len(needs) - len(known)} runs" if len(known) < len(needs) else ""
    return f"memory: about {_size(known[least])} ({least}) to {_size(known[most])} ({most}){unknown}"


def _size(mib: float) -> str:
    return f"{mib / 1024:,.1f} GiB" if mib >= 1024 else f"{mib:,.0f} MiB"


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
    from rocoft_bench.memory import memory_mib

    methods: dict[tuple[str, str], int] = {}
    problems: dict[str, str] = {}
    needs: dict[str, float | None] = {}
    for point, settings in sweep.runs():
        try:
            experiment = _resolved(settings, assignments)
            needs[_place(point)] = memory_mib(experiment)
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
    return f"{aligned(rows)}\n{sum(methods.values())} runs: {sizes}\n{_memory_range(needs)}"


def _place(point: dict[str, Any]) -> str:
    return ", ".join(f"{axis} {_plain(value)}" for axis, value in point.items())


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values())
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
