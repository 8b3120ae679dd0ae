"""`rocoft evaluate`: a trained model on another task of its family, or by another protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import AS_FOLDER
from rocoft_bench.cli.running import BASE_HELP
from rocoft_bench.untrusted.data_files import ENDINGS

EPILOG = """Examples:

  rocoft evaluate results/math-gsm8k/RUN --task all

  rocoft evaluate results/math-gsm8k/RUN --protocol published
"""


def register(app: typer.Typer) -> None:
    app.command("evaluate", epilog=EPILOG)(evaluate)


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", **AS_FOLDER)],
    task: Annotated[str | None, typer.Option(help='Task of the same family; "all" for each in turn.')] = None,
    protocol: Annotated[str | None, typer.Option(help="strict or published (commonsense and math).")] = None,
    data_dir: Annotated[Path | None, typer.Option(help=f"Folder with FAMILY/TASK/SPLIT{ENDINGS}.", **AS_FOLDER)] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Another setting of the evaluation.")
    ] = None,
    model: Annotated[str | None, typer.Option(help=BASE_HELP)] = None,
    force: Annotated[bool, typer.Option("--force", help="Evaluate again what has been evaluated.")] = False,
) -> None:
    """Evaluate the model of a finished run once more; each result is a record of its own inside the run's folder."""
    from rocoft_bench import tasks
    from rocoft_bench.cli.progress import ProgressDisplay
    from rocoft_bench.cli.running import result_line
    from rocoft_bench.config import Settings, override
    from rocoft_bench.engine.interrupt import Interrupted
    from rocoft_bench.experiment import inference
    from rocoft_bench.runs import find_run

    directory = find_run(run)
    family = directory.read_record().task["family"]
    for name in tasks.of_family(family) if task == "all" else [task]:
        changes = Settings()
        changes.assign(assignments or [])
        flags = {"name": name, "protocol": protocol, "data_dir": None if data_dir is None else str(data_dir)}
        for key, value in flags.items():
            if value is not None:
                changes.update(override(f"task.{key}", value), f"--{key}")
        try:
            with ProgressDisplay(f"{directory.path} on {name or 'its own task'}") as display:
                record, target = inference.evaluate(directory, changes, display, force, model)
        except Interrupted:
            raise KeyboardInterrupt from None
        say(f"{record.task['name']}: {result_line(record)}\nrecord: {target.record}")
