"""`rocoft export`: a run becomes a plain checkpoint, or goes to the Hugging Face hub."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import BaseModel, FinishedRun, Plugins, a_folder, app
from rocoft_bench.cli.running import show_notes
from rocoft_bench.errors import UserError
from rocoft_bench.runs import find_run

EPILOG = """Examples:

rocoft export results/demo/rocoft-row --output my-model

rocoft export results/demo/rocoft-row --format lora --output my-lora

rocoft export results/demo/rocoft-row --push-to-hub me/my-adapter --private
"""


Format = StrEnum("Format", ["merged", "lora"])


@app.command(epilog=EPILOG)
def export(
    run: FinishedRun,
    output: Annotated[
        Path | None, a_folder(help="New folder for it; default: merged/ or lora/ inside the run.")
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="merged: a plain checkpoint; lora: rows or columns as a LoRA adapter.")
    ] = Format.merged,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Upload to this model repository of the Hugging Face hub (owner/name, or a name of your own), made if "
            "need be; nothing is written here. Log in first: hf auth login.",
        ),
    ] = None,
    merged: Annotated[
        bool, typer.Option("--merged", help="With --push-to-hub: upload the merged model, not the trained values.")
    ] = False,
    model: BaseModel = None,
    private: Annotated[
        bool, typer.Option("--private", help="With --push-to-hub: only its owner sees the new repository.")
    ] = False,
    plugins: Plugins = None,
) -> None:
    """Merge the trained values into the base model and save it; `AutoModel…from_pretrained` loads the folder.

    With --format lora, save rows or columns that RoCoFT trained as a LoRA adapter instead, which is the same model:
    whatever serves LoRA takes it, as `peft.PeftModel.from_pretrained` without this package.

    With --push-to-hub, upload the run to the Hugging Face hub in one commit instead: its trained values as they are (a
    PEFT adapter, for most methods) or, with --merged, the merged model. With them go a model card, record.json and
    config.yaml, without paths of this machine; the examples, predictions and provenance.json stay here. Files of
    the same names in the repository are replaced, and others are kept.
    """
    if push_to_hub is None:
        _save(run, output, form, merged or private, model)
    elif form is Format.lora:
        raise UserError("--format says what is saved here, and --push-to-hub uploads: give one of them")
    else:
        _push(run, output, push_to_hub, merged, private, model)


def _save(run: Path, output: Path | None, form: Format, options_of_upload: bool, model: str | None) -> None:
    if options_of_upload:
        raise UserError("--merged and --private say what to upload: name a repository, --push-to-hub OWNER/NAME")
    from rocoft_bench.experiment import predict

    directory = find_run(run)
    folder = output or directory.path / form
    show_notes(predict.export(directory, folder, model, as_lora=form is Format.lora))
    say(f"{'merged model' if form is Format.merged else 'LoRA adapter'}: {folder}")


def _push(run: Path, output: Path | None, name: str, merged: bool, private: bool, model: str | None) -> None:
    if output is not None:
        raise UserError("--output saves a model here and --push-to-hub uploads one: give one of them")
    if model is not None and not merged:
        raise UserError("--model says what to merge with, and --push-to-hub uploads the trained values: add --merged")
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # at run time only

    from rocoft_bench.publish import upload as publishing

    if not sys.stderr.isatty():
        disable_progress_bars()
    uploaded = publishing.push(find_run(run), name, private, merged, model)
    say(f"{'merged model' if merged else 'trained values'}: {uploaded.repo_url} at commit {uploaded.oid}")
