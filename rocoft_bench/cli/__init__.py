"""The `rocoft` command. One file per command; each parses, calls and prints."""

from __future__ import annotations

import logging
import sys
import warnings

import typer

from rocoft_bench.cli import demo, evaluate, export, ls, params, predict, prefetch, report, train, validate
from rocoft_bench.errors import UserError

app = typer.Typer(
    name="rocoft",
    help="Fine-tune language models with RoCoFT (row-column fine-tuning) and compare it with the paper's results.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (train, evaluate, demo, report, predict, export, ls, params, validate, prefetch):
    module.register(app)


def main() -> None:
    """Entry point. Bad input ends with one line and exit code 2, an interrupted run with 130."""
    warnings.simplefilter("ignore", FutureWarning)  # addressed to the developers of libraries
    warnings.filterwarnings("ignore", "Position ids are not supported")  # prompt tuning puts back what peft ignores
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # at import it warns of kernels that it can do without
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
