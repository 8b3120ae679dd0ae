"""The `rocoft` command without its commands, and options that several of these take."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

import rocoft_bench
from rocoft_bench.cli.console import say
from rocoft_bench.errors import shortened
from rocoft_bench.plugins import load_files
from rocoft_bench.untrusted.data_files import ENDINGS

app = typer.Typer(
    name="rocoft",
    help="Fine-tune language models with RoCoFT (row-column fine-tuning) and compare it with the paper's results.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked_for: bool) -> None:
    if is_asked_for:
        say(f"rocoft-bench {rocoft_bench.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """What stands before a command."""


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
"""How an option or argument that names a folder, or a file, is read."""

a_folder = partial(typer.Option, **AS_FOLDER)
a_file = partial(typer.Option, **AS_FILE)
a_setting = partial(typer.Option, "--set", metavar="KEY=VALUE")

FinishedRun = Annotated[Path, typer.Argument(help="Folder of a finished run.", **AS_FOLDER)]
BaseModel = Annotated[
    str | None,
    typer.Option("--model", help="Folder that holds the run's base model now, if that is not where the run had it."),
]
DataDir = Annotated[Path | None, a_folder(help=f"Folder with FAMILY/TASK/SPLIT{ENDINGS}; default: the hub.")]
TrainFile = Annotated[Path | None, a_file(help=f"Own data: file with the examples to train on ({ENDINGS}).")]
EvalFile = Annotated[
    Path | None, a_file(help="Own data: file with the examples to evaluate on; without it, a part is held out.")
]
Dataset = Annotated[str | None, typer.Option(help="Own data: a dataset of the hub (owner/name) instead of files.")]
TextColumn = Annotated[str | None, typer.Option(help="Own data: column with the text.")]
TextPairColumn = Annotated[str | None, typer.Option(help="Own data: column with the second text, if there is one.")]
LabelColumn = Annotated[str | None, typer.Option(help="Own data: column with what is to be answered.")]
ResultsFolder = Annotated[Path, a_folder(help="Of all results, one folder each below it.")]
Protocol = Annotated[str | None, typer.Option(help="Commonsense and math: strict or published.")]
Assignments = Annotated[list[str] | None, a_setting(help="Any other setting, e.g. training.keep=best.")]
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
