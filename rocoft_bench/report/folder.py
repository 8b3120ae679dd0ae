"""A report as files: a page for the browser, the tables in three formats, and the figures."""

import gc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rocoft_bench.analysis.method_comparison import OURS, compare_methods
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.seed_statistics import MARGIN
from rocoft_bench.analysis.table import Table
from rocoft_bench.analysis.verdicts import claims_table, rank_tables_over_seeds
from rocoft_bench.errors import UserError, reason
from rocoft_bench.runs import private_folder, remove_leftovers, write_text

Progress = Callable[[str, int, int], None]
"""Is told what is being done, and how much of how much of it."""

PAGE = "index.html"
FIGURES = "figures"


def write_report(
    results: Results,
    tables: Sequence[Table],
    folder: Path,
    title: str,
    progress: Progress | None = None,
    ours: str = OURS,
    margin: float = MARGIN,
) -> Path:
    """Write the report into a folder, which is made if need be; files of an earlier one are replaced.

    progress: told about what takes its time. ours: the method that others are compared with, and that
    stands out in figures. margin: percentage points within which methods count as equivalent. Returns the page.

    Raises: UserError if the folder cannot be written.
    """
    # what has been read stays; to look through it again and again for garbage takes a third of the time where there are
    # thousands of runs
    gc.freeze()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder, PAGE)
        with private_folder(folder / PAGE) as made:
            _write(results, tables, made, title, progress or (lambda what, done, total: None), ours, margin)
            _put_in_place(made, folder)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot be written ({reason(error)}); choose another folder") from None
    finally:
        gc.unfreeze()
    return folder / PAGE


def _put_in_place(made: Path, folder: Path) -> None:
    """Let the files take the places of an earlier report's, the page last; either all of them can or none does.

    Raises: OSError.
    """
    from rocoft_bench.report.figures import remove_figures

    files = {file.relative_to(made): file for file in made.rglob("*") if file.is_file()}
    inners = {name.parent for name in files} - {Path()}
    for inner in inners:
        if (folder / inner).is_symlink():
            raise OSError(f"{inner} there is a link")
        if (folder / inner).exists() and not (folder / inner).is_dir():
            raise OSError(f"{inner} there is a file")
    for name in files:
        if (folder / name).is_dir() and not (folder / name).is_symlink():
            raise OSError(f"{name} there is a folder")
    for inner in inners:
        (folder / inner).mkdir(exist_ok=True)
    for name in sorted(files, key=lambda name: name == Path(PAGE)):
        files[name].replace(folder / name)
    remove_figures(folder / FIGURES, kept={name.name for name in files})


def _write(
    results: Results, tables: Sequence[Table], folder: Path, title: str, progress: Progress, ours: str, margin: float
) -> None:
    """Make a report in an empty folder."""
    from rocoft_bench.report.figures import draw_figures
    from rocoft_bench.report.page import write_page
    from rocoft_bench.report.writing import as_csv, as_latex, as_markdown, comparisons_csv

    show_done = partial(progress, "comparing methods")
    compared = list(compare_methods(results, tables, ours, show_done, margin))
    comparisons = [table for one in compared for table in (one.as_table(), claims_table(one)) if table]
    comparisons += rank_tables_over_seeds(results, tables)
    pairs = [pair for one in compared for pair in one.comparisons.values()]
    progress("drawing figures", 0, 1)
    drawn = draw_figures(results, tables, folder / FIGURES, ours)
    progress("writing the page", 0, 1)
    shown = [*tables, *comparisons]
    write_text(folder / "tables.md", as_markdown(shown, title))
    write_text(folder / "tables.tex", as_latex(shown))
    write_text(folder / "cells.csv", as_csv(tables))
    write_text(folder / "comparisons.csv", comparisons_csv(pairs))
    write_page(folder / PAGE, title, results, tables, drawn.figures, comparisons, drawn.notes)
