"""`rocoft params`: how many parameters each method trains, beside the paper's figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli.columns import aligned
from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import Plugins, app

if TYPE_CHECKING:
    from rocoft_bench.audit.parameters import AuditRow

EPILOG = """Examples:

  rocoft params

  rocoft params --model roberta-base

  rocoft params --method lora
"""


@app.command(epilog=EPILOG)
def params(
    model: Annotated[str | None, typer.Option(help="A model of the paper; then every method is counted.")] = None,
    method: Annotated[str | None, typer.Option(help="A method; then it is counted on every model.")] = None,
    plugins: Plugins = None,
) -> None:
    """Count what each method trains on the paper's models, beside its Tables 1, 2, 6, 7 and 8. Nothing is downloaded.

    Adapter: trained outside the task head (Diff Pruning: kept at the end). Paper and ours in millions; ours is the
    adapter with or without the head, whichever is nearer.
    """
    from rocoft_bench.audit.parameters import parameter_audit

    rows = parameter_audit(model, method)
    header = ["table", "model", "method", "adapter", "head", "total", "share %", "paper M", "ours M", "diff %", "why"]
    say(aligned([header, *map(_cells, rows)]))
    compared = [row for row in rows if row.figure is not None]
    say(f"{sum(row.agrees for row in compared)} of {len(compared)} figures of the paper are met as printed")


def _cells(row: AuditRow) -> list[str]:
    from rocoft_bench.audit.parameters import explanation

    figure = row.figure
    label = figure.method if figure else row.method.label
    counts = [f"{count:,}" for count in (row.adapter, row.head, row.adapter + row.head)]
    share = f"{100 * (row.adapter + row.head) / row.total:.3f}"
    if figure is None:
        return ["", row.model, label, *counts, share, "", "", "", ""]
    paper_count = float(figure.millions) * 1e6
    difference = "=" if row.agrees else f"{100 * (row.counted - paper_count) / paper_count:+.1f}"
    ours = f"{row.counted / 1e6:.3f}"
    return [str(figure.table), row.model, label, *counts, share, figure.millions, ours, difference, explanation(row)]
