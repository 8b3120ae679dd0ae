"""`rocoft report`: results beside the paper's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli.console import TerminalConsole, complain, say
from rocoft_bench.cli.options import AS_FOLDER, Plugins, a_folder, app

if TYPE_CHECKING:
    from rocoft_bench.report import Results, Table


@app.command(epilog="Examples: rocoft report results/, rocoft report results/ --ours lora")
def report(
    results: Annotated[Path, typer.Argument(help="Folder with runs, at any depth.", **AS_FOLDER)] = Path("results"),
    output: Annotated[
        Path | None, a_folder(help="Folder for the page, tables and figures; default: report/ in the results.")
    ] = None,
    compare: Annotated[
        Path | None, a_folder(help="Another folder with runs, to stand beside instead of the paper.")
    ] = None,
    ours: Annotated[
        str, typer.Option(help="The method that all others are compared with: its name, or the title of a row.")
    ] = "rocoft",
    margin: Annotated[
        float, typer.Option(min=0, help="Percentage points within which methods count as equivalent.")
    ] = 1.0,
    audit: Annotated[
        bool, typer.Option("--audit", help="Only show what in the paper's own tables does not add up.")
    ] = False,
    plugins: Plugins = None,
) -> None:
    """Show all runs of a folder in the paper's tables, with the paper's numbers beside them.

    Also writes them as a page for the browser (index.html), as Markdown, LaTeX and CSV, with figures.
    Exit code 1 if some records cannot be read; they are named, and the rest is reported.
    """
    from rocoft_bench.cli.tables import print_tables

    if audit:
        from rocoft_bench.audit import paper_audit

        print_tables(paper_audit())
        return
    from rocoft_bench.report import all_tables, check_ours, only_run, read_results, side_by_side
    from rocoft_bench.report.writing.cleaning import one_line

    found = [read_results(folder) for folder in (results, compare) if folder is not None]
    check_ours(found[0], ours)
    tables = all_tables(found[0])
    if compare is not None:
        tables = side_by_side(tables, all_tables(found[1]), str(compare))
    print_tables([only_run(table, beside=compare is not None) for table in tables])
    title = " beside ".join(folder.resolve().name for folder in (results, compare) if folder is not None)
    page = _write(found[0], tables, output or results / "report", title, ours, margin)
    say(f"\npage: {page}")
    if problems := [problem for each in found for problem in each.problems]:
        for problem in problems:
            complain(one_line(f"skipped: {problem.path}: {problem.reason}"))
        complain(f"{len(problems)} {'files' if len(problems) > 1 else 'file'} skipped")
        raise typer.Exit(1)


def _write(results: Results, tables: list[Table], folder: Path, title: str, ours: str, margin: float) -> Path:
    from rich.progress import Progress

    from rocoft_bench.report import write_report

    console = TerminalConsole(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("comparing methods", total=None)

        def show(what: str, done: int, total: int) -> None:
            bars.update(bar, description=what, completed=done, total=total)

        return write_report(results, tables, folder, title, show, ours, margin)
