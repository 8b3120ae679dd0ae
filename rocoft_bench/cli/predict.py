"""`rocoft predict`: a trained adapter answers."""

from pathlib import Path
from typing import Annotated

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import BaseModel, FinishedRun, Plugins, a_file, app
from rocoft_bench.cli.running import ShownNotes, show_notes
from rocoft_bench.errors import UserError
from rocoft_bench.runs import RunDirectory, find_run

EPILOG = """Examples:

  rocoft predict results/demo/rocoft-row --text "No dog sleeps." --text-pair "A dog sleeps."

  rocoft predict results/classification-reviews/RUN --file new.csv --output answered.csv
"""


@app.command(epilog=EPILOG)
def predict(
    run: FinishedRun,
    text: Annotated[
        str | None, typer.Option(help="The input: a sentence, a document, an instruction; a question.")
    ] = None,
    text_pair: Annotated[
        str | None, typer.Option(help="The second input, where the task has two: a sentence; the passage that answers.")
    ] = None,
    file: Annotated[
        Path | None, a_file(help="Answer each row of this file, whose columns have the run's names.")
    ] = None,
    output: Annotated[
        Path | None, a_file(help="With --file: its rows and their answers (.csv, .tsv or .jsonl).")
    ] = None,
    model: BaseModel = None,
    plugins: Plugins = None,
) -> None:
    """Answer one input, or all rows of a file, with the model of a finished run."""
    from rocoft_bench.experiment.predict import answer
    from rocoft_bench.experiment.trained_model import load_run

    if file is not None and output is not None and text is None and text_pair is None:
        _answer_file(find_run(run), file, output, model)
        return
    if text is None or file is not None or output is not None:
        raise UserError(
            "give one input, --text (and --text-pair), or a file and a place for its answers: --file, --output"
        )
    trained = load_run(find_run(run), model)
    show_notes(trained.notes)
    say(answer(trained, text, text_pair, ShownNotes()))


def _answer_file(directory: RunDirectory, file: Path, output: Path, model: str | None) -> None:
    from rocoft_bench.cli.progress import ProgressDisplay
    from rocoft_bench.experiment.predict import answer_file, open_file_to_answer
    from rocoft_bench.experiment.trained_model import experiment_of, load_run

    asked = open_file_to_answer(experiment_of(directory).task, file, output)
    trained = load_run(directory, model)
    show_notes(trained.notes)
    with ProgressDisplay(f"{directory.path} on {file}") as display:
        count = answer_file(trained, asked, display)
    say(f"{count:,} answers: {output}")
