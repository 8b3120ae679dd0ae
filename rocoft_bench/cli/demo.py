"""`rocoft demo`: the whole thing in a few minutes, without a network."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.options import AS_FOLDER

if TYPE_CHECKING:
    from rocoft_bench.report import Run

COMPARED = {
    "rocoft-row": "entailment.yaml",
    "rocoft-column": "rocoft_column.yaml",
    "lora": "lora.yaml",
    "head-only": "head_only.yaml",
}
"""Folder of each run of the comparison of methods and its config below configs/demo/."""


class Family(StrEnum):
    glue = "glue"
    squad = "squad"
    summarization = "summarization"
    commonsense = "commonsense"
    math = "math"
    ntk = "ntk"
    all = "all"


ONE_RUN = {
    Family.glue: ("rocoft-row", "entailment.yaml"),
    Family.squad: ("questions", "questions.yaml"),
    Family.summarization: ("summaries", "summaries.yaml"),
    Family.commonsense: ("choices", "choices.yaml"),
    Family.math: ("word-problems", "word_problems.yaml"),
}
"""Folder and config of the run with RoCoFT that stands for a family."""


def register(app: typer.Typer) -> None:
    app.command("demo", epilog="Examples: rocoft demo, rocoft demo --family all")(demo)


def demo(
    family: Annotated[
        Family,
        typer.Option(
            help="glue compares four methods; ntk makes kernels; the others, and all, show what RoCoFT learns."
        ),
    ] = Family.glue,
    output: Annotated[Path, typer.Option(help="Folder of the runs.", **AS_FOLDER)] = Path("results/demo"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Run again what is finished.")] = False,
) -> None:
    """Fine-tune small models with RoCoFT on generated data of the paper's task families.

    Models and data come with the package. For GLUE that is all-MiniLM-L6-v2 (6 layers, real weights) and sentence
    pairs, and RoCoFT is compared with LoRA and a trained head alone.
    """
    from rocoft_bench.cli.tables import print_tables
    from rocoft_bench.report import Results, all_tables, before_and_after

    if family is Family.ntk:
        _kernels(output, force)
        return
    runs = list(COMPARED.items()) if family is Family.glue else _runs_of(family)
    done: list[Run] = []
    for name, file in runs:
        done.append(_run(output, name, file, seed, force))
        is_glue = family is Family.glue
        print_tables(all_tables(Results(output, done)) if is_glue else [before_and_after(run.record for run in done)])
    say(
        "\nThese are generated data and small models: they show that the methods work here, and are not comparable\n"
        "with the paper's tables. For those: rocoft train glue --task rte --rank 3 --mode row"
    )
    say(f"records: {output}")


def _kernels(output: Path, force: bool) -> None:
    """Few-shot kernels of the embedded masked language model on the embedded sentence pairs, as Section 5 has them."""
    from rocoft_bench.cli.ntk import run_and_show
    from rocoft_bench.config import Settings
    from rocoft_bench.ntk.kernel_settings import SECTION, analyses

    run_and_show(analyses(Settings({SECTION: {"model": "demo-roberta", "tasks": ["demo"]}})), output, force)
    say("\nA model of 2 MB on generated pairs says nothing of RoBERTa. For the paper's tables: rocoft ntk --task all")


def _runs_of(family: Family) -> list[tuple[str, str]]:
    return list(ONE_RUN.values()) if family is Family.all else [ONE_RUN[family]]


def _run(output: Path, name: str, file: str, seed: int, force: bool) -> Run:
    from rocoft_bench.cli.running import check_result, shown_run
    from rocoft_bench.config import config_root, override, read_settings
    from rocoft_bench.execution import launcher
    from rocoft_bench.experiment.resolve import resolve
    from rocoft_bench.report import Run

    settings = read_settings(config_root() / "demo" / file)
    settings.update(override("seed", seed), "--seed")
    folder = output / (name if seed == 0 else f"{name}-seed{seed}")
    experiment = resolve(settings)
    with shown_run(experiment, folder) as observer:
        record, was_run = launcher.run(experiment, folder, observer, force)
    check_result(record, was_run, folder)
    return Run(folder.name, record, folder)
