"""`rocoft validate`: is a config right, and what does it amount to?"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli import bench, ntk
from rocoft_bench.cli.columns import aligned
from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import Assignments, Plugins, app
from rocoft_bench.cli.running import show_notes
from rocoft_bench.config import Settings, Sweep, find_config, flatten, read_settings, read_sweep
from rocoft_bench.errors import UserError
from rocoft_bench.runs import config_values

if TYPE_CHECKING:
    from rocoft_bench.experiment.resolve import Experiment
    from rocoft_bench.sweep.plan import ValidRun

EPILOG = """Examples:

  rocoft validate glue/rte.yaml --set method.rank=1

  rocoft validate table1_roberta_base.yaml
"""

MEMORY_UNKNOWN = "memory: unknown before the model's configuration is here (rocoft prefetch)"


@app.command(epilog=EPILOG)
def validate(
    config: Annotated[str, typer.Argument(help="YAML file, also by its path below the shipped configs/.")],
    assignments: Assignments = None,
    plugins: Plugins = None,
) -> None:
    """Check a config without loading anything, and show all its settings with where each value comes from.

    Of a sweep, every run is checked and the methods are shown. The memory that a run will need is estimated for
    examples as long as task.max_length allows, on this machine's kind of device.
    """
    from rocoft_bench.efficiency.bench_settings import is_of_benches
    from rocoft_bench.ntk.kernel_settings import is_of_kernels

    file = find_config(config)
    if is_of_kernels(settings := read_settings(file)):
        say(_kernels(file, assignments or []))
    elif is_of_benches(settings):
        say(_benches(file, assignments or []))
    else:
        sweep = read_sweep(file)
        say(_settings(settings, assignments or []) if sweep is None else _runs(sweep, assignments or []))
    say("valid")


def _kernels(file: Path, assignments: list[str]) -> str:
    """The settings that the analyses of a file share, and how many there are."""
    groups = ntk.groups_of(file, {}, assignments)
    first = groups[0][0]
    rows = [["setting", "value"], ["model", first.model.name], ["shots", str(first.shots)]]
    rows += [[key, str(value)] for key, value in first.chosen().items()]
    draws = ", ".join(str(own.seed) for own in groups[0])
    tasks = ", ".join(group[0].task for group in groups)
    return f"{aligned(rows)}\n{sum(map(len, groups))} analyses: {len(groups)} tasks ({tasks}) x draws {draws}"


def _benches(file: Path, assignments: list[str]) -> str:
    """The settings that the methods of each model and shape share, and the methods."""
    groups = bench.groups_of(file, assignments)
    tables = [
        aligned([["setting", "value"], *([key, str(value)] for key, value in group[0].circumstances().items())])
        for group in groups
    ]
    methods = ", ".join(own.method["name"] for own in groups[0])
    return "\n\n".join([*tables, f"{sum(map(len, groups))} benches, of {methods}"])


def _settings(settings: Settings, assignments: list[str]) -> str:
    from rocoft_bench.experiment.resolve import resolve

    settings.assign(assignments)
    experiment = resolve(settings)
    show_notes(experiment.notes)
    resolved = experiment.config
    rows = [["setting", "value", "from"]]
    rows += [[key, str(value), settings.sources.get(key, "default")] for key, value in flatten(config_values(resolved))]
    return f"{aligned(rows)}\n{_memory(experiment)}"


def _memory(experiment: Experiment) -> str:
    """The estimate for one run."""
    from rocoft_bench.experiment import memory_estimate

    facts = memory_estimate.facts_of(experiment)
    if facts is None:
        return MEMORY_UNKNOWN
    estimate = memory_estimate.estimate(experiment, facts)
    parts = ", ".join(f"{part} {mib:,.0f}" for part, mib in estimate.parts.items() if mib)
    target = f" and {estimate.length.target}" if estimate.length.target else ""
    size = f"{estimate.examples} examples of {estimate.length.source}{target} tokens"
    return f"memory: about {_size(estimate.total)} (MiB: {parts}) at {size}; {'GPU' if estimate.on_gpu else 'CPU'}"


def _size(mib: float) -> str:
    return f"{mib / 1024:,.1f} GiB" if mib >= 1024 else f"{mib:,.0f} MiB"


def _runs(sweep: Sweep, assignments: list[str]) -> str:
    """The methods of a sweep with their settings, how many runs there are, and what memory they need.

    Raises:
        UserError: Every run that is wrong, by its place on the axes; the same problem once.
    """
    from rocoft_bench.sweep.plan import places_of, plain, resolve_all

    right, wrong = resolve_all(sweep, sweep.runs(assignments))
    trials, wrong_trials = resolve_all(sweep, sweep.trials(assignments))
    if wrong := [*wrong, *wrong_trials]:
        raise UserError("\n".join(f"{sweep.path}: {places}: {error}" for error, places in places_of(wrong).items()))
    methods: Counter[tuple[str, str]] = Counter()
    for run in right:
        method = run.experiment.method
        words = ", ".join(f"{key} {plain(value)}" for key, value in method.settings.model_dump().items()) or "-"
        methods[method.label, words] += 1
    rows = [["method", "runs", "settings"], *([label, str(n), words] for (label, words), n in methods.items())]
    sizes = " x ".join(f"{len(values)} {axis}" for axis, values in sweep.axes.items())
    different = len({run.experiment.run_name for run in right})
    less = {"excluded": math.prod(map(len, sweep.axes.values())) - len(right), "the same": len(right) - different}
    left_out = "".join(f", {count} {why}" for why, count in less.items() if count)
    tuned = f"; {len(trials)} trials of tuning before them" if trials else ""
    return f"{aligned(rows)}\n{different} runs: {sizes}{left_out}{tuned}\n{_memory_range(right)}"


def _memory_range(runs: list[ValidRun]) -> str:
    """The smallest and the largest estimate of a sweep's runs, by their places on the axes."""
    known = {run.place: run.memory_mib for run in runs if run.memory_mib is not None}
    if not known:
        return MEMORY_UNKNOWN
    least, most = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
    unknown = f"; unknown for {len(runs) - len(known)} runs" if len(known) < len(runs) else ""
    return f"memory: about {_size(known[least])} ({least}) to {_size(known[most])} ({most}){unknown}"
