"""`rocoft bench`: what a training step costs with each method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rocoft_bench.cli.columns import aligned
from rocoft_bench.cli.console import complain, say
from rocoft_bench.cli.options import Force, Plugins, ResultsFolder, a_setting, app
from rocoft_bench.config import find_config, read_settings

if TYPE_CHECKING:
    from rocoft_bench.efficiency.bench_settings import BenchSettings
    from rocoft_bench.runs import EfficiencyRecord

EPILOG = """Examples:

  rocoft bench bench_roberta_base.yaml

  rocoft bench bench_llama_small.yaml --set turns=40 --output results/bench

  rocoft bench bench_llama2_7b.yaml --set models=[{name: llama-2-7b, num_hidden_layers: 8}] --dry-run
"""


@app.command(epilog=EPILOG)
def bench(
    config: Annotated[Path, typer.Argument(help="YAML file of benches, e.g. bench_roberta_base.yaml.")],
    assignments: Annotated[list[str] | None, a_setting(help="Any setting of the file, e.g. turns=40.")] = None,
    output: ResultsFolder = Path("results/bench"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the benches and measure none.")] = False,
    force: Force = False,
    plugins: Plugins = None,
) -> None:
    """Time, memory, FLOPs and operations of a training step, beside a frozen model's (Tables 3 and 8, Figure 2).

    Models have random weights, and nothing is downloaded. Steps of all methods are timed in turn, A B C A B C …; FLOPs,
    bytes kept for backward and operations are counted, which is exact on a busy machine too. What is finished is left
    alone, and `rocoft report` makes tables and figures of the records.
    """
    groups = groups_of(config, assignments or [])
    if dry_run:
        _show_plan(groups, output)
        return
    from rocoft_bench.efficiency.bench_run import only_bench_in

    with only_bench_in(output):
        records = [record for group in groups for record in measured_and_shown(group, output, force)]
    say(f"records: {output}")
    if failed := [record for record in records if record.status != "ok"]:
        for record in failed:
            complain(f"{record.label}: {record.status}: {record.error}")
        raise typer.Exit(1)


def groups_of(config: Path, assignments: list[str]) -> list[list[BenchSettings]]:
    """The benches of a file, with what the command line changes. Raises: UserError if a setting is wrong."""
    from rocoft_bench.efficiency.bench_settings import SECTION, benches_of

    settings = read_settings(find_config(config))
    settings.assign(assignments, group=SECTION)
    return benches_of(settings)


def measured_and_shown(group: list[BenchSettings], output: Path, force: bool) -> list[EfficiencyRecord]:
    from rocoft_bench.cli.progress import Display
    from rocoft_bench.efficiency.bench_run import measure, measurements

    first = group[0]
    title = f"{first.model['name']}, {first.batch_size} x {first.sequence_length} tokens, {len(group)} methods"
    with Display(title) as display:
        bar = display.bars.add_task("", total=measurements(group))

        def advance(what: str) -> None:
            display.bars.update(bar, description=what, advance=1)

        records = measure(group, output, force, advance)
    frozen = next((record for record in records if record.method["name"] == "frozen"), None)
    rows = [["method", "trained", "step s", "x frozen", "GFLOP", "x", "kept MB", "x", "added ops per layer"]]
    rows += [_cells(record, frozen) for record in records if record.status == "ok"]
    say(aligned(rows))
    return records


def _cells(record: EfficiencyRecord, frozen: EfficiencyRecord | None) -> list[str]:
    def beside(name: str) -> str:
        own, limit = getattr(record, name), getattr(frozen, name, None)
        return f"{own / limit:.4f}" if own and limit else ""

    trained = record.parameters.get("adapter", 0) + record.parameters.get("head", 0)
    layers = record.added_operations_per_layer
    return [
        record.label,
        f"{trained:,}",
        f"{record.seconds_per_step or 0:.4f}",
        f"{record.seconds_beside_frozen:.3f}" if record.seconds_beside_frozen else "",
        f"{(record.flops_per_step or 0) / 1e9:.1f}",
        beside("flops_per_step"),
        f"{(record.saved_bytes_per_step or 0) / 1e6:.1f}",
        beside("saved_bytes_per_step"),
        "" if layers is None else f"{layers:.1f}",
    ]


def _show_plan(groups: list[list[BenchSettings]], output: Path) -> None:
    from rocoft_bench.efficiency.bench_run import stored_record

    rows = [["model", "method", "rows x tokens", "state", "folder"]]
    for own in [each for group in groups for each in group]:
        state = "done" if stored_record(own, output) else "to do"
        shape = f"{own.batch_size} x {own.sequence_length}"
        rows.append([own.model["name"], own.method["name"], shape, state, own.folder_name])
    say(aligned(rows))
