"""`rocoft train`: one run."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import (
    Assignments,
    DataDir,
    Dataset,
    EvalFile,
    Force,
    LabelColumn,
    Plugins,
    Protocol,
    TextColumn,
    TextPairColumn,
    TrainFile,
    a_folder,
    app,
)
from rocoft_bench.cli.running import shown_run, summary
from rocoft_bench.config import DEFAULT_METHOD, Settings, find_config, override, read_settings, resolve_config_path
from rocoft_bench.engine.tracking import TrackerName
from rocoft_bench.errors import UserError

EPILOG = """Examples:

  rocoft train glue --task rte --rank 3 --mode row

  rocoft train glue --task cola --method lora --model roberta-large --seed 1

  rocoft train glue --task mrpc --model ./my-model --data-dir ./data --set training.keep=best

  rocoft train math --task gsm8k --model EleutherAI/gpt-j-6b --set training.precision=bf16

  rocoft train glue --task mnli --num-processes 4

  rocoft train classification --train-file reviews.csv --text-column review --label-column stars
"""

Family = Annotated[
    str, typer.Argument(help="Task family, e.g. glue; for your own data e.g. classification (`rocoft ls tasks`).")
]
ConfigFile = Annotated[
    Path | None, typer.Option(help="YAML file; default: configs/FAMILY/TASK.yaml, the paper's Table 10.")
]
Mode = Annotated[str | None, typer.Option(help="RoCoFT: row, column, row_column or random (single entries).")]
TrainOn = Annotated[
    str | None, typer.Option(help="Commonsense and math: examples to train on, e.g. commonsense_170k or math_10k.")
]
NumProcesses = Annotated[
    int | None,
    typer.Option(help="Processes that share the examples of each step, over all machines: one for each GPU."),
]
AccelerateFile = Annotated[
    Path | None, typer.Option(help="YAML file of accelerate, e.g. configs/accelerate/fsdp.yaml.")
]


@app.command(epilog=EPILOG)
def train(
    family: Family,
    task: Annotated[str | None, typer.Option(help="Task of the family, e.g. rte; a name for your own data.")] = None,
    config: ConfigFile = None,
    method: Annotated[str | None, typer.Option(help="Fine-tuning method (`rocoft ls methods`).")] = None,
    rank: Annotated[int | None, typer.Option(help="Rows or columns per matrix; the rank for LoRA.")] = None,
    mode: Mode = None,
    selection: Annotated[str | None, typer.Option(help="RoCoFT: first, random, max, min or mixed.")] = None,
    model: Annotated[str | None, typer.Option(help="Hub id, local folder, or a name of `rocoft ls models`.")] = None,
    data_dir: DataDir = None,
    train_file: TrainFile = None,
    eval_file: EvalFile = None,
    dataset: Dataset = None,
    text_column: TextColumn = None,
    text_pair_column: TextPairColumn = None,
    label_column: LabelColumn = None,
    train_on: TrainOn = None,
    protocol: Protocol = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training examples.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per forward pass.")] = None,
    assignments: Assignments = None,
    output: Annotated[Path | None, a_folder(help="Folder of this run; default: results/… by its settings.")] = None,
    force: Force = False,
    track: Annotated[TrackerName | None, typer.Option(help="Show the curves in this tracker (an extra each).")] = None,
    num_processes: NumProcesses = None,
    num_machines: Annotated[int, typer.Option(help="Machines; run the same command on each.")] = 1,
    machine_rank: Annotated[int, typer.Option(help="Which of the machines this is, from 0.")] = 0,
    main_process_ip: Annotated[str | None, typer.Option(help="Address of machine 0.")] = None,
    main_process_port: Annotated[int | None, typer.Option(help="A free port of machine 0.")] = None,
    config_file: AccelerateFile = None,
    plugins: Plugins = None,
) -> None:
    """Fine-tune a model on one task and record the result.

    The same command resumes an interrupted run and leaves a finished one alone.
    """
    from rocoft_bench.execution.launch_options import Launch
    from rocoft_bench.experiment.resolve import resolve

    flags = {
        **{"method.rank": rank, "method.mode": mode, "method.selection": selection, "model.name": model},
        **{"task.data_dir": data_dir, "task.train_on": train_on, "task.protocol": protocol},
        **{"training.learning_rate": learning_rate, "training.epochs": epochs, "training.batch_size": batch_size},
        **{"task.train_file": train_file, "task.eval_file": eval_file, "task.dataset": dataset},
        **{"task.text_column": text_column, "task.text_pair_column": text_pair_column},
        **{"task.label_column": label_column, "seed": seed},
    }
    experiment = resolve(_settings(family, task, config, method, flags, assignments or []))
    folder = output or experiment.folder_in(Path("results"))
    file = None if config_file is None else str(resolve_config_path(config_file))
    launch = Launch(num_processes, num_machines, machine_rank, main_process_ip, main_process_port, file)
    say(summary(shown_run(experiment, folder, force, track, launch), folder))


def _settings(
    family: str, task: str | None, file: Path | None, method: str | None, flags: dict[str, Any], assignments: list[str]
) -> Settings:
    """File, then the method, whose defaults it brings, then `--set`, then the named flags."""
    from rocoft_bench import tasks

    is_own = family in tasks.OWN_FAMILIES
    if task is not None:
        tasks.get(family, task)
    elif file is None and not is_own:
        raise UserError(f"--task is missing: {', '.join(tasks.of_family(family))}")
    # the paper has no settings for own data or a plug-in's task: these start from the defaults
    is_free = file is None and (is_own or tasks.TASKS.origin(f"{family} {task}") is not None)
    free = Settings({"method": {"name": DEFAULT_METHOD}})
    settings = free if is_free else read_settings(find_config(file or f"{family}/{task}.yaml"))
    if "axes" in settings.values:
        raise UserError(f"{file}: is a sweep: rocoft sweep {file}")
    settings.update(override("task.family", family), "command line")
    settings.lay_options({"task.name": task, "method.name": method})
    settings.assign(assignments)
    settings.lay_options(flags)
    return settings
