"""`rocoft demo`: the whole thing in a few minutes, without a network."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli.console import say
from rocoft_bench.cli.ntk import carry_out
from rocoft_bench.cli.options import a_folder, app
from rocoft_bench.cli.running import shown_run
from rocoft_bench.config import Settings, config_root, read_settings

if TYPE_CHECKING:
    from rocoft_bench.report import Run

COMPARED = {
    "rocoft-row": "entailment.yaml",
    "rocoft-column": "rocoft_column.yaml",
    "lora": "lora.yaml",
    "head-only": "head_only.yaml",
}
"""Folder of each run of the comparison of methods and its config below configs/demo/."""


Family = StrEnum("Family", ["glue", "squad", "summarization", "commonsense", "math", "ntk", "all"])

ONE_RUN = {
    Family.glue: ("rocoft-row", "entailment.yaml"),
    Family.squad: ("questions", "questions.yaml"),
    Family.summarization: ("summaries", "summaries.yaml"),
    Family.commonsense: ("choices", "choices.yaml"),
    Family.math: ("word-problems", "word_problems.yaml"),
}
"""Folder and config of the run with RoCoFT that stands for a family."""


@app.command(epilog="Examples: rocoft demo, rocoft demo --family all")
def demo(
    family: Annotated[
        Family,
        typer.Option(
            help="glue compares four methods; ntk makes kernels; the others, and all, show what RoCoFT learns."
        ),
    ] = Family.glue,
    output: Annotated[Path, a_folder(help="Folder of the runs.")] = Path("results/demo"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Run again what is finished.")] = False,
) -> None:
    """Fine-tune small models with RoCoFT on generated data of the paper's task families.

    Models and data come with the package. For GLUE that is all-MiniLM-L6-v2 (6 layers, real weights) and sentence
    pairs, and RoCoFT is compared with LoRA and a trained head alone.
    """
    from rocoft_bench.cli.tables import print_tables
    from rocoft_bench.report import Results, all_tables, before_and_after

    if family is Family.ntk:  # few-shot kernels, as Section 5 has them
        from rocoft_bench.ntk.kernel_settings import SECTION, analyses

        few_shot = {"model": "demo-roberta", "tasks": ["demo"]}
        carry_out(analyses(Settings({SECTION: few_shot})), output, force=force)
        say(
            "\nA model of 2 MB on generated pairs says nothing of RoBERTa. "
            "For the paper's tables: rocoft ntk --task all"
        )
        return
    is_glue = family is Family.glue
    one_each = ONE_RUN.values() if family is Family.all else [ONE_RUN[family]]
    done: list[Run] = []
    for name, file in COMPARED.items() if is_glue else one_each:
        done.append(_run(output, name, file, seed, force))
        print_tables(all_tables(Results(output, done)) if is_glue else [before_and_after(run.record for run in done)])
    say(
        "\nThese are generated data and small models: they show that the methods work here, and are not comparable\n"
        "with the paper's tables. For those: rocoft train glue --task rte --rank 3 --mode row"
    )
    say(f"records: {output}")


def _run(output: Path, name: str, file: str, seed: int, force: bool) -> Run:
    from rocoft_bench.experiment.resolve import resolve
    from rocoft_bench.report import Run

    settings = read_settings(config_root() / "demo" / file)
    settings.lay_options({"seed": seed})
    folder = output / (name if seed == 0 else f"{name}-seed{seed}")
    return Run(folder.name, shown_run(resolve(settings), folder, force), folder)
