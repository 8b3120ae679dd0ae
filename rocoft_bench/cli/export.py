"""`rocoft export`: a run becomes a plain checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("export", epilog="Example: rocoft export results/demo/rocoft-row --output my-model")(export)


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    output: Annotated[Path | None, typer.Option(help="New folder; default: merged/ inside the run.")] = None,
) -> None:
    """Merge the trained values into the base model and save it; `AutoModel…from_pretrained` loads the folder."""
    from rocoft_bench import inference
    from rocoft_bench.runs import find_run

    directory = find_run(run)
    folder = output or directory.path / "merged"
    inference.export(directory, folder)
    typer.echo(f"merged model: {folder}")
