"""`rocoft check`: whether numbers have moved."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rocoft_bench.cli.columns import aligned
from rocoft_bench.cli.console import complain, say
from rocoft_bench.cli.options import app
from rocoft_bench.errors import UserError, shortened


@app.command(epilog="Examples: rocoft check, rocoft check --golden mine.json --remake")
def check(
    golden: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to hold to; default: the package's own.")
    ] = None,
    remake: Annotated[
        bool, typer.Option("--remake", help="Write the file anew, from what the runs give with what is installed here.")
    ] = False,
) -> None:
    """See whether the numbers of a small fixed set of runs are still those of this package's golden file.

    The demo's runs, twelve steps each on one thread of the processor: rows, weights, counts and prompts have to be
    equal; losses, scores and metrics within the tolerances that the file states. Exit code 1 if something has drifted,
    by another version of torch, transformers or peft, say: what it is, and which versions are others, is named.
    """
    from rocoft_bench.drift.golden import FILE, drifts, other_versions, read_golden, write_golden

    file = golden or FILE
    before = read_golden(file) if file.exists() or not remake else None
    if not file.parent.is_dir():
        raise UserError(f"--golden {file}: {file.parent} is no folder")
    measured = _measured(remake)
    if before is None or remake:
        write_golden(file, measured)
        say(f"written: {file}")
        return
    found = [drift for name, now in measured.items() for drift in drifts(name, before, now)]
    for name, (then, now) in other_versions(before).items():
        say(f"{name}: {now}, the golden file is of {then}")
    if not found:
        held = ", ".join(f"{part} {_in_words(how)}" for part, how in before["tolerances"].items())
        say(f"no drift in {len(measured)} runs (allowed: {held}; all else is equal)")
        return
    shown = [(d.run, d.what, *(shortened(str(value), 60) for value in (d.golden, d.now))) for d in found]
    say(aligned([("run", "what", "golden", "now"), *shown]))
    complain(f"{len(found)} values have drifted from {file}; if that is right: rocoft check --remake")
    raise typer.Exit(1)


def _measured(all_are_needed: bool) -> dict[str, Any]:
    """What each of the fixed runs gives, by name."""
    import torch

    from rocoft_bench.drift.fixed_runs import config_files, experiment_of, is_installed, measured

    os.environ["ACCELERATE_USE_CPU"] = "true"
    torch.set_num_threads(1)
    found = {}
    for name, path in config_files().items():
        experiment = experiment_of(path)
        if is_installed(experiment):
            complain(f"{name} …")
            found[name] = measured(experiment)
        elif all_are_needed:
            raise UserError(f"{name}: needs pip install 'rocoft-bench[demo]'")
        else:
            complain(f"not checked: {name}, which needs pip install 'rocoft-bench[demo]'")
    return found


def _in_words(tolerance: Mapping[str, float]) -> str:
    relative, absolute = tolerance["relative"], tolerance["absolute"]
    return " + ".join([*([f"{100 * relative:g} %"] if relative else []), *([f"{absolute:g}"] if absolute else [])])
