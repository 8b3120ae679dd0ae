"""The `rocoft` command. One file per command; each parses, calls and prints."""

from __future__ import annotations

import sys

import typer

from rocoft_bench.cli import demo, evaluate, export, ls, params, predict, prefetch, report, sweep, train, validate
from rocoft_bench.errors import UserError
from rocoft_bench.quiet import quiet_libraries

app = typer.Typer(
    name="rocoft",
    help="Fine-tune language models with RoCoFT (row-column fine-tuning) and compare it with the paper's results.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (train, sweep, evaluate, demo, report, predict, export, ls, params, validate, prefetch):
    module.register(app)


def main() -> None:
    """Entry point. Bad input ends with one line and exit code 2, an interrupted run with 130."""
    quiet_libraries()
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
