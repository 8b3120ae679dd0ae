"""`rocoft ntk`: few-shot kernels and what they predict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rocoft_bench.cli.columns import aligned
from rocoft_bench.cli.console import complain, say
from rocoft_bench.cli.options import Plugins, ResultsFolder, a_folder, a_setting, app
from rocoft_bench.config import Settings, find_config, read_settings
from rocoft_bench.engine.interrupt import GracefulStop, Interrupted
from rocoft_bench.errors import UserError

if TYPE_CHECKING:
    from rocoft_bench.ntk.kernel_settings import KernelSettings
    from rocoft_bench.runs import KernelRecord

EPILOG = """Examples:

  rocoft ntk --model roberta-base --task sst-2 --shots 16 --seeds 13,21,42,87,100

  rocoft ntk --config ntk_16shot.yaml --data-dir data --output results

  rocoft ntk --model ./my-model --task mr --kernels full,row,ia3 --rank 3 --set solver=ridge --set ridge=0.01

  rocoft ntk --model roberta-base --task sst-2 --methods rocoft,lora,bitfit --fine-tune

  rocoft train fewshot --task sst-2 --seed 13 --output run && rocoft ntk --run run

  rocoft ntk compare results/ntk-mr/a results/ntk-mr/b
"""

KERNELS = ("full", "row", "column", "lora", "entries", "biases", "norms", "ia3", "head")
DATA_DIR = "Folder with fewshot/TASK/SHOTS-SEED and fewshot/TASK; default: the hub."
NO_SETTINGS = ("config", "assignments", "output", "dry_run", "force", "plugins")
"""Parameters of the command that are no settings of an analysis."""

command = typer.Typer(epilog=EPILOG, invoke_without_command=True, no_args_is_help=True)
app.add_typer(command, name="ntk")


@command.callback()
def ntk(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="YAML file of analyses, e.g. ntk_16shot.yaml.")] = None,
    task: Annotated[str | None, typer.Option(help="Few-shot tasks, e.g. sst-2,mr; all: the paper's 13.")] = None,
    model: Annotated[str | None, typer.Option(help="A masked language model: hub id, folder, or a known name.")] = None,
    shots: Annotated[int | None, typer.Option(help="Training rows of each class.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Of the draws; default: the paper's five, 13,21,42,87,100.")] = None,
    kernels: Annotated[str | None, typer.Option(help=f"Of {', '.join(KERNELS)}.")] = None,
    method: Annotated[str | None, typer.Option(help="Kernel of what a method trains (`rocoft ls methods`).")] = None,
    methods: Annotated[str | None, typer.Option(help="Those of several methods, beside --kernels.")] = None,
    run: Annotated[Path | None, a_folder(help="A finished few-shot run, whose state is taken.")] = None,
    rank: Annotated[int | None, typer.Option(help="Rows or columns of each matrix.")] = None,
    selection: Annotated[
        str | None, typer.Option(help="Which rows or columns: first, random, max, min, mixed.")
    ] = None,
    data_dir: Annotated[Path | None, a_folder(help=DATA_DIR)] = None,
    label_words: Annotated[str | None, typer.Option(help="By class, where the task's own are not one token.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Tokens of a prompt; default: the task's.")] = None,
    first_limit: Annotated[int | None, typer.Option(help="Tokens of its first sentence; default: the task's.")] = None,
    max_test_rows: Annotated[int | None, typer.Option(help="Test on the first rows only (recorded).")] = None,
    preset: Annotated[str | None, typer.Option(help="strict; published: as the code that the paper follows.")] = None,
    solver: Annotated[str | None, typer.Option(help="strict, published or ridge.")] = None,
    logits: Annotated[str | None, typer.Option(help="Of two classes: difference or all.")] = None,
    f0: Annotated[bool | None, typer.Option("--f0/--no-f0", help="Start from the model's own logits.")] = None,
    test_kernels: Annotated[bool | None, typer.Option("--test-kernels", help="Keep kernels of test rows too.")] = None,
    fine_tune: Annotated[bool | None, typer.Option("--fine-tune", help="Train on each draw too, beside it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per forward pass.")] = None,
    memory_gib: Annotated[float | None, typer.Option(help="The most memory to use.")] = None,
    assignments: Annotated[list[str] | None, a_setting(help="Any other setting, e.g. lora_rank=4.")] = None,
    output: ResultsFolder = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the analyses and make none.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Make again what is finished.")] = False,
    plugins: Plugins = None,
) -> None:
    """Neural tangent kernels of a masked language model on few-shot tasks (Tables 4, 5, 13 and Figures 3, 5, 6).

    Kernels of several parameter sets come from the same passes, and test rows are predicted by kernel logistic
    regression. The same command goes on after an interruption and leaves what is finished alone.
    """
    if context.invoked_subcommand is not None:
        return
    flags = {key: value for key, value in context.params.items() if key not in NO_SETTINGS}
    carry_out(groups_of(config, _settings(flags), assignments or []), output, dry_run, force)


def _settings(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags as settings of a file; those that were not given are None."""
    from rocoft_bench.ntk.kernel_settings import of_paper

    task = flags.pop("task")
    lists = {key: _split(flags[key]) for key in ("kernels", "label_words", "methods")}
    tasks = of_paper() if task == "all" else _split(task)
    training: dict[str, Any] = {"fine_tuning": {} if flags.pop("fine_tune") else None}
    return {**flags, **lists, **training, "tasks": tasks, "seeds": _seeds(flags["seeds"])}


@command.command("compare", epilog="Example: rocoft ntk compare results/ntk-mr/a results/ntk-mr/b")
def compare(
    first: Annotated[Path, typer.Argument(help="Folder of an analysis, or a .pt or .safetensors file of kernels.")],
    second: Annotated[Path, typer.Argument(help="Another one, of the same rows.")],
) -> None:
    """Hold the training kernels of two analyses, or of other programs, side by side."""
    from rocoft_bench.ntk.similarity import compared

    rows = [["kernel", "size", "relative difference p=1", "p=2", "alignment", "largest entry, second / first"]]
    for pair in compared(first, second):
        numbers = (pair.difference_1, pair.difference_2, pair.alignment, pair.scale)
        rows.append([pair.name, str(pair.size), *(f"{number:.4g}" for number in numbers)])
    say(aligned(rows))


def carry_out(groups: list[list[KernelSettings]], output: Path, dry_run: bool = False, force: bool = False) -> None:
    """Make the analyses and print what came out, as the paper's tables have it, or only show what is done and to do. A
    task that fails costs no other one.

    Raises: UserError if the only task cannot be used; typer.Exit with code 1 if others failed, with 130 if stopped.
    """
    if dry_run:
        _show_plan(groups, output)
        return
    from rocoft_bench.analysis.records import Results, Stored
    from rocoft_bench.cli.tables import print_tables
    from rocoft_bench.ntk.analyse import failure_of
    from rocoft_bench.report.tables import all_tables

    stored: list[Stored[KernelRecord]] = []
    problems = []
    for group in groups:
        try:
            records = _made(group, output, force)
            named = zip([own.folder_name for own in group], records, strict=True)
            stored += [Stored(name, record, output / name) for name, record in named]
        except Interrupted:
            complain(f"stopped; the same command goes on from the last block in {output}")
            raise typer.Exit(130) from None
        except UserError as error:
            if len(groups) == 1:
                raise
            problems.append(f"{group[0].task}: error: {error}")
        except Exception as error:  # on record already; what it is does not matter to the other tasks
            failure = failure_of(error)
            hint = f"; {failure.hint}" if failure.hint else ""
            problems.append(f"{group[0].task}: {failure.status}: {failure.error}{hint}")
    print_tables(all_tables(Results(output, kernels=stored)))
    say(f"records: {output}")
    for problem in problems:
        complain(problem)
    if problems:
        raise typer.Exit(1)


def _made(group: list[KernelSettings], output: Path, force: bool) -> list[KernelRecord]:
    from rocoft_bench.cli.ntk_progress import KernelDisplay
    from rocoft_bench.ntk.analyse import analyse

    first = group[0]
    title = f"{first.task}, {first.shots} shots, {first.model.name}, seeds {', '.join(str(own.seed) for own in group)}"
    with GracefulStop() as stop, KernelDisplay(title, stop) as display:
        return analyse(group, output, display, force)


def groups_of(config: Path | None, flags: dict[str, Any], assignments: list[str]) -> list[list[KernelSettings]]:
    """The analyses of a file, or of the command line alone, task by task.

    Raises: UserError if a setting is unknown or out of range.
    """
    from rocoft_bench.ntk.kernel_settings import SECTION, analyses

    settings = read_settings(find_config(config)) if config else Settings()
    settings.lay_options({f"{SECTION}.{key}": value for key, value in flags.items()})
    settings.assign(assignments, group=SECTION)
    section = settings.values.get(SECTION) or {}
    if config is None and not (section.get("tasks") or section.get("run")):
        raise UserError("--task is missing: a few-shot task such as sst-2, or all; or a file of analyses with --config")
    return analyses(settings)


def _show_plan(groups: list[list[KernelSettings]], output: Path) -> None:
    from rocoft_bench.ntk.kernel_files import KernelDirectory

    rows = [["task", "shots", "seed", "kernels", "state", "folder"]]
    for own in [each for group in groups for each in group]:
        state = "done" if KernelDirectory(output / own.folder_name).is_done() else "to do"
        rows.append([own.task, str(own.shots), str(own.seed), ",".join(own.kernels), state, own.folder_name])
    say(aligned(rows))


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _seeds(text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--seeds {text}: write whole numbers, e.g. 13,21,42,87,100") from None
