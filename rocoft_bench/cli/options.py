"""Options that several commands take."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rocoft_bench.errors import shortened
from rocoft_bench.plugins import load_files
from rocoft_bench.untrusted.data_files import ENDINGS


def folder(given: str | Path) -> Path:
    """The folder that an option names; an empty one, as of a variable that is not set, would be the working directory.

    Raises: typer.BadParameter if it names none.
    """
    if not str(given).strip():
        raise typer.BadParameter("is empty; the working directory is .")
    try:
        str(given).encode()
        return Path(given).expanduser()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{shortened(str(given))}: is not UTF-8") from None
    except RuntimeError as error:
        raise typer.BadParameter(f"{given}: {error}") from None


AS_FOLDER: dict[str, Any] = {"parser": folder, "metavar": "FOLDER"}
AS_FILE: dict[str, Any] = {"parser": folder, "metavar": "FILE"}
"""How an option that names a folder, or a file, is read."""

FinishedRun = Annotated[Path, typer.Argument(help="Folder of a finished run.", **AS_FOLDER)]
BaseModel = Annotated[
    str | None,
    typer.Option("--model", help="Folder that holds the run's base model now, if that is not where the run had it."),
]
DataDir = Annotated[
    Path | None, typer.Option(help=f"Folder with FAMILY/TASK/SPLIT{ENDINGS}; default: the hub.", **AS_FOLDER)
]
TrainFile = Annotated[
    Path | None,
    typer.Option(help=f"Own data: file with the examples to train on ({ENDINGS}).", **AS_FILE),
]
EvalFile = Annotated[
    Path | None,
    typer.Option(help="Own data: file with the examples to evaluate on; without it, a part is held out.", **AS_FILE),
]
Dataset = Annotated[str | None, typer.Option(help="Own data: a dataset of the hub (owner/name) instead of files.")]
TextColumn = Annotated[str | None, typer.Option(help="Own data: column with the text.")]
TextPairColumn = Annotated[str | None, typer.Option(help="Own data: column with the second text, if there is one.")]
LabelColumn = Annotated[str | None, typer.Option(help="Own data: column with what is to be answered.")]
Protocol = Annotated[str | None, typer.Option(help="Commonsense and math: strict or published.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. training.keep=best.")
]
Force = Annotated[bool, typer.Option("--force", help="Do again what is done, and replace it.")]


def _load(context: typer.Context, files: list[Path] | None) -> list[Path] | None:
    if not context.resilient_parsing:  # as in shell completion, which runs nothing
        load_files(files or [])
    return files


Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE.py", help="Load methods or tasks of your own (repeatable).", callback=_load),
]
"""Files of the user's own code; they are loaded when the option is read, and a command itself has no use for them."""
