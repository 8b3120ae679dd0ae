"""`rocoft inspect`: what a run would read of a file."""

from pathlib import Path
from typing import Annotated

import typer

from rocoft_bench.cli.columns import aligned
from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import AS_FILE, Assignments, EvalFile, LabelColumn, TextColumn, TextPairColumn, app
from rocoft_bench.config import Settings, validate
from rocoft_bench.errors import UserError, suggest

EPILOG = """Examples:

  rocoft inspect reviews.csv --text-column review --label-column stars --model roberta-base

  rocoft inspect chats.jsonl --as instruct --model ./my-model
"""


@app.command(epilog=EPILOG)
def inspect(
    file: Annotated[Path, typer.Argument(help="File with examples of your own.", **AS_FILE)],
    family: Annotated[
        str | None, typer.Option("--as", help="What is to be learnt: classification, regression, questions, …")
    ] = None,
    eval_file: EvalFile = None,
    text_column: TextColumn = None,
    text_pair_column: TextPairColumn = None,
    label_column: LabelColumn = None,
    model: Annotated[str | None, typer.Option(help="Model whose tokenizer counts the tokens.")] = None,
    assignments: Assignments = None,
) -> None:
    """Show what a run would read of a file: columns, labels, lengths, duplicates, what is odd, and one example."""
    from rocoft_bench.experiment.inspection import columns_of, family_for, inspected
    from rocoft_bench.tasks import OWN_FAMILIES

    table, rows = columns_of(file)
    say(f"{file}: {len(rows.places):,} rows\n{aligned(table)}")
    chosen = family or ("classification" if text_column or label_column else family_for(list(rows.columns)))
    if chosen is None:
        say("\nTo see more, say what is to be learnt and from which columns: --as, --text-column, --label-column")
        return
    if chosen not in OWN_FAMILIES:
        raise UserError(f"--as {chosen}: {suggest(chosen, OWN_FAMILIES)}")
    columns = {"text_column": text_column, "text_pair_column": text_pair_column, "label_column": label_column}
    files = {"train_file": str(file), "eval_file": eval_file and str(eval_file)}
    settings = Settings({"task": {"family": chosen, **{k: v for k, v in (columns | files).items() if v is not None}}})
    settings.assign(assignments or [])
    settings.lay_options({"model.name": model})
    config = validate(settings, OWN_FAMILIES[chosen].Settings)
    task, section = OWN_FAMILIES[chosen].bound(config.task)
    say(f"\nas {chosen}:")
    for part in inspected(task, section, config.model if model else None):
        say(part if isinstance(part, str) else aligned(part))
