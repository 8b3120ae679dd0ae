"""`rocoft predict`: a trained adapter answers."""

from __future__ import annotations

from typing import Annotated

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import BaseModel, FinishedRun, Plugins
from rocoft_bench.cli.running import show_notes

EPILOG = 'Example: rocoft predict results/demo/rocoft-row --text "No dog sleeps." --text-pair "A dog sleeps."'


def register(app: typer.Typer) -> None:
    app.command("predict", epilog=EPILOG)(predict)


def predict(
    run: FinishedRun,
    text: Annotated[str, typer.Option(help="The input: a sentence, a document, an instruction; a question.")],
    text_pair: Annotated[
        str | None, typer.Option(help="The second input, where the task has two: a sentence; the passage that answers.")
    ] = None,
    model: BaseModel = None,
    plugins: Plugins = None,
) -> None:
    """Answer one input with the model of a finished run."""
    from rocoft_bench.experiment.predict import answer
    from rocoft_bench.experiment.trained_model import load_run
    from rocoft_bench.runs import find_run

    trained = load_run(find_run(run), model)
    show_notes(trained.notes)
    say(answer(trained, text, text_pair))
