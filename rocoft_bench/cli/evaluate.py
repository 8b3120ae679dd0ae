"""`rocoft evaluate`: a trained model on another task of its family, or by another protocol."""

from typing import Annotated

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import (
    Assignments,
    BaseModel,
    DataDir,
    EvalFile,
    FinishedRun,
    Force,
    Plugins,
    Protocol,
    app,
)
from rocoft_bench.cli.running import result_line
from rocoft_bench.config import Settings
from rocoft_bench.runs import find_run

EPILOG = """Examples:

  rocoft evaluate results/math-gsm8k/RUN --task all

  rocoft evaluate results/math-gsm8k/RUN --protocol published
"""


@app.command(epilog=EPILOG)
def evaluate(
    run: FinishedRun,
    task: Annotated[str | None, typer.Option(help='Task of the same family; "all" for each in turn.')] = None,
    protocol: Protocol = None,
    data_dir: DataDir = None,
    eval_file: EvalFile = None,
    assignments: Assignments = None,
    model: BaseModel = None,
    force: Force = False,
    plugins: Plugins = None,
) -> None:
    """Evaluate the model of a finished run once more; each result is a record of its own inside the run's folder."""
    from rocoft_bench import tasks
    from rocoft_bench.cli.progress import ProgressDisplay
    from rocoft_bench.experiment import evaluate as evaluation

    directory = find_run(run)
    family = directory.read_record().task["family"]
    for name in tasks.of_family(family) if task == "all" else [task]:
        changes = Settings()
        changes.assign(assignments or [])
        options = {"task.protocol": protocol, "task.data_dir": data_dir, "task.eval_file": eval_file}
        changes.lay_options({"task.name": name, **options})
        with ProgressDisplay(f"{directory.path} on {name or 'its own task'}") as display:
            record, target = evaluation.evaluate(directory, changes, display, force, model)
        say(f"{record.task['name']}: {result_line(record)}\nrecord: {target.record}")
