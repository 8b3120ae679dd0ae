"""`rocoft demo`: the whole thing in a few minutes, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RUNS = {
    "rocoft-row": "entailment.yaml",
    "rocoft-column": "rocoft_column.yaml",
    "lora": "lora.yaml",
    "head-only": "head_only.yaml",
}
"""Folder of each run and its config below configs/demo/."""


def register(app: typer.Typer) -> None:
    app.command("demo", epilog="Example: rocoft demo --output results/demo")(demo)


def demo(
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("results/demo"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Run again what is finished.")] = False,
) -> None:
    """Fine-tune a small real model with RoCoFT, LoRA and a trained head alone, and compare them.

    Model and data come with the package: all-MiniLM-L6-v2 (6 layers) and generated sentence pairs.
    """
    from rocoft_bench import experiment as spine
    from rocoft_bench.cli.running import run_with_display
    from rocoft_bench.cli.tables import print_tables
    from rocoft_bench.config import config_root, override, read_settings
    from rocoft_bench.report import build_tables

    records = []
    for name, file in RUNS.items():
        settings = read_settings(config_root() / "demo" / file)
        settings.update(override("seed", seed), "--seed")
        folder = output / (name if seed == 0 else f"{name}-seed{seed}")
        records.append(run_with_display(spine.resolve(settings), folder, force))
    print_tables(build_tables(records))
    typer.echo(
        "\nThis is generated data and a small model: it shows that the methods work here, and is not comparable with\n"
        "the paper's tables. For those: rocoft train glue --task rte --rank 3 --mode row"
    )
    typer.echo(f"records: {output}")
