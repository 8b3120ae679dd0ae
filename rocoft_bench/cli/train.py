"""`rocoft train`: one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import AS_FOLDER
from rocoft_bench.engine.tracking import TrackerName
from rocoft_bench.untrusted.data_files import ENDINGS

if TYPE_CHECKING:
    from rocoft_bench.config import Settings

EPILOG = """Examples:

  rocoft train glue --task rte --rank 3 --mode row

  rocoft train glue --task cola --method lora --model roberta-large --seed 1

  rocoft train glue --task mrpc --model ./my-model --data-dir ./data --set training.keep=best

  rocoft train math --task gsm8k --model EleutherAI/gpt-j-6b --set training.precision=bf16

  rocoft train glue --task mnli --num-processes 4
"""


def register(app: typer.Typer) -> None:
    app.command("train", epilog=EPILOG)(train)


def train(
    family: Annotated[str, typer.Argument(help="Task family, e.g. glue (`rocoft ls tasks`).")],
    task: Annotated[str | None, typer.Option(help="Task of the family, e.g. rte.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file; default: configs/FAMILY/TASK.yaml, the paper's Table 10.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Fine-tuning method (`rocoft ls methods`).")] = None,
    rank: Annotated[int | None, typer.Option(help="Rows or columns per matrix; the rank for LoRA.")] = None,
    mode: Annotated[str | None, typer.Option(help="RoCoFT: row, column or random (single entries).")] = None,
    selection: Annotated[str | None, typer.Option(help="RoCoFT: first, random, max, min or mixed.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id, local folder, or a name of `rocoft ls models`.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help=f"Folder with FAMILY/TASK/SPLIT{ENDINGS}; default: the hub.", **AS_FOLDER)
    ] = None,
    train_on: Annotated[
        str | None, typer.Option(help="Commonsense and math: rows to train on, e.g. commonsense_170k or math_10k.")
    ] = None,
    protocol: Annotated[str | None, typer.Option(help="Commonsense and math: strict or published.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per forward pass.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. training.keep=best.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of this run; default: results/… by its settings.", **AS_FOLDER)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Run again, replacing a run in the same folder.")] = False,
    track: Annotated[TrackerName | None, typer.Option(help="Show the curves in this tracker (an extra each).")] = None,
    num_processes: Annotated[
        int | None,
        typer.Option(help="Processes that share the rows of each step, over all machines: one for each GPU."),
    ] = None,
    num_machines: Annotated[int, typer.Option(help="Machines; run the same command on each.")] = 1,
    machine_rank: Annotated[int, typer.Option(help="Which of the machines this is, from 0.")] = 0,
    main_process_ip: Annotated[str | None, typer.Option(help="Address of machine 0.")] = None,
    main_process_port: Annotated[int | None, typer.Option(help="A free port of machine 0.")] = None,
    config_file: Annotated[
        Path | None, typer.Option(help="YAML file of accelerate, e.g. configs/accelerate/fsdp.yaml.")
    ] = None,
) -> None:
    """Fine-tune a model on one task and record the result.

    The same command resumes an interrupted run and leaves a finished one alone.
    """
    from rocoft_bench.cli.running import run_with_display, summary
    from rocoft_bench.config import found_or_shipped
    from rocoft_bench.execution.options import Launch
    from rocoft_bench.experiment.resolve import resolve

    flags = {
        "method.rank": rank,
        "method.mode": mode,
        "method.selection": selection,
        "model.name": model,
        "task.data_dir": None if data_dir is None else str(data_dir),
        "task.train_on": train_on,
        "task.protocol": protocol,
        "seed": seed,
        "training.learning_rate": learning_rate,
        "training.epochs": epochs,
        "training.batch_size": batch_size,
    }
    experiment = resolve(_settings(family, task, config, method, flags, assignments or []))
    folder = output or experiment.folder_in(Path("results"))
    file = config_file and found_or_shipped(config_file)
    how = Launch(num_processes, num_machines, machine_rank, main_process_ip, main_process_port, file)
    say(summary(run_with_display(experiment, folder, force, how, track), folder))


def _settings(
    family: str,
    task: str | None,
    config: Path | None,
    method: str | None,
    flags: dict[str, Any],
    assignments: list[str],
) -> Settings:
    """File, then the method, whose defaults it brings, then `--set`, then the named flags."""
    from rocoft_bench import tasks
    from rocoft_bench.config import find_config, override, read_settings
    from rocoft_bench.errors import UserError

    if task is not None:
        tasks.get(family, task)
    elif config is None:
        raise UserError(f"--task is missing: {', '.join(tasks.of_family(family))}")
    settings = read_settings(find_config(config or f"{family}/{task}.yaml"))
    if "axes" in settings.values:
        raise UserError(f"{config}: is a sweep: rocoft sweep {config}")
    settings.update(override("task.family", family), "command line")
    if task is not None:
        settings.update(override("task.name", task), "--task")
    if method is not None:
        settings.update(override("method.name", method), "--method")
    settings.assign(assignments)
    for key, value in flags.items():
        if value is not None:
            settings.update(override(key, value), f"--{key.split('.')[-1].replace('_', '-')}")
    return settings
