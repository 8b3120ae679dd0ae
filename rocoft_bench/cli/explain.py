"""`rocoft explain`: why two results differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli.options import FinishedRun, Plugins, app, folder
from rocoft_bench.runs import find_run

if TYPE_CHECKING:
    from rocoft_bench.report import Run

EPILOG = """Examples:

  rocoft explain results/demo/rocoft-row results/demo/lora

  rocoft explain results/glue-rte/RUN paper:table1/RoCoFT-3-Row/rte
"""


@app.command(epilog=EPILOG)
def explain(
    run: FinishedRun,
    other: Annotated[
        str,
        typer.Argument(
            help="Folder of another run; or a cell of the paper, paper:TABLE/MODEL/METHOD/TASK, of which whatever is "
            'left out is as of the run ("paper" alone: its own cell).'
        ),
    ],
    examples: Annotated[int, typer.Option(min=0, help="How many evaluation examples to show.")] = 5,
    plugins: Plugins = None,
) -> None:
    """Say in what a run and another one, or a cell of the paper, differ: what can change numbers first.

    Settings, data, prompt, weights, precision, hardware and versions are compared as they are on record; then what
    statistics say of the difference in score, and the first evaluation examples that are answered differently.
    """
    from rocoft_bench.analysis.references import find_cell, is_paper
    from rocoft_bench.cli.tables import print_tables
    from rocoft_bench.report import explain_beside_paper, explain_runs

    ours = _run(run)
    if is_paper(other):
        tables = explain_beside_paper(ours, find_cell(other, ours))
    else:
        tables = explain_runs(ours, _run(folder(other)), examples)
    print_tables(tables, names="")


def _run(path: Path) -> Run:
    from rocoft_bench.report import Run

    directory = find_run(path)
    return Run(str(directory.path), directory.read_record(), directory.path)
