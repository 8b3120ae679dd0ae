"""`rocoft report`: results beside the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("report", epilog="Example: rocoft report results/")(report)


def report(
    results: Annotated[Path, typer.Argument(help="Folder with runs, at any depth.")] = Path("results"),
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables to this Markdown file.")] = None,
) -> None:
    """Show all runs of a folder in tables, the paper's row beside each. Exit code 1 if some records are unreadable."""
    from rocoft_bench.cli.tables import as_markdown, print_tables
    from rocoft_bench.report import build_tables, read_records
    from rocoft_bench.runs import write_text

    records, problems = read_records(results)
    tables = build_tables(records)
    print_tables(tables)
    if markdown is not None:
        write_text(markdown, as_markdown(tables))
    for problem in problems:
        typer.echo(f"skipped: {problem}", err=True)
    if problems:
        raise typer.Exit(1)
