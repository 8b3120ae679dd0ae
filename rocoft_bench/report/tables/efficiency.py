"""What training costs: Tables 3 and 8, and the numbers of Figure 2."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rocoft_bench.analysis.groups import (
    PAPER_MODEL,
    alike,
    latest,
    listed,
    machines,
    model_facts,
    model_name,
    model_text,
    repeats,
    said,
    seeds,
    table_key,
    with_unique_keys,
)
from rocoft_bench.analysis.records import Results
from rocoft_bench.analysis.table import Column, Row, Table
from rocoft_bench.report.tables.benches import Bench, Value, bench_cell, circumstances, variants_of
from rocoft_bench.report.tables.complexity import complexity_tables, is_of_a_layer
from rocoft_bench.report.tables.ranks import rank_tables
from rocoft_bench.runs import EfficiencyRecord


def _scaled(field: str, unit: float = 1) -> Value:
    """The value of a field, or of a property, in another unit."""

    def value(record: EfficiencyRecord) -> float | None:
        number = getattr(record, field)
        return None if number is None else number / unit

    return value


def _column(key: str, title: str, unit: str, decimals: int) -> Column:
    return Column(key, title, ("",), unit=unit, decimals=decimals, better="lower")


COSTS: tuple[tuple[Column, Value], ...] = (
    (_column("seconds_per_step", "step", "s", 4), _scaled("seconds_per_step")),
    (_column("epoch_minutes", "epoch", "min", 2), _scaled("seconds_per_epoch", 60)),
    (_column("model_memory_mib", "model", "MiB", 0), _scaled("model_memory_mib")),
    (_column("optimization_memory_mib", "optimization", "MiB", 0), _scaled("optimization_memory_mib")),
    (_column("peak_memory_mib", "peak", "MiB", 0), _scaled("peak_memory_mib")),
    (_column("gflop_per_step", "step", "GFLOP", 1), _scaled("flops_per_step", 1e9)),
    (_column("saved_mib_per_step", "saved for backward", "MiB", 1), _scaled("saved_bytes_per_step", 2**20)),
)
"""The columns of Figure 2's numbers, and where each is from."""

FIGURE_NOTE = (
    "the paper prints no numbers for Figure 2 and does not name its model, batch or hardware; "
    'its text says "approximately 2.85GB" of RoCoFT'
)


def efficiency_tables(results: Results) -> list[Table]:
    """Tables 3 and 8 and the numbers of Figure 2, as far as there are records for them."""
    of_layers = [bench for bench in results.efficiency if is_of_a_layer(bench.record)]
    of_models = [bench for bench in results.efficiency if not is_of_a_layer(bench.record)]
    tables = [*complexity_tables(of_layers), *rank_tables(results.runs, of_models), *_cost_tables(of_models)]
    return with_unique_keys(tables)


def _cost_tables(benches: Iterable[Bench]) -> list[Table]:
    """Figure 2: a table for each model, task, shape of batch, precision and machine."""
    groups = alike(benches, lambda bench: (*model_facts(bench.record.model), *circumstances(bench)))
    groups.sort(key=lambda own: (_model(own) != PAPER_MODEL, _model(own), str(circumstances(own[0]))))
    return [_cost_table(_model(own), own) for own in groups]


def _model(benches: Sequence[Bench]) -> str:
    return model_name(benches[0].record.model)


def _cost_table(model: str, benches: Sequence[Bench]) -> Table:
    first = benches[0].record
    title = ", ".join(filter(None, ["time and memory of training", model, first.task]))
    table = Table(table_key("figure2", model), title, [column for column, _ in COSTS], number="Figure 2")
    shown = 0
    for label in sorted({bench.record.label for bench in benches}):
        for variant, same in variants_of([bench for bench in benches if bench.record.label == label]):
            counting = latest(same)
            shown += len(counting)
            cells = {column.key: bench_cell(counting, value) for column, value in COSTS}
            table.rows.append(Row(model, label, cells, variant))
    table.conditions = _conditions(benches)
    notes = said((bench.record.label, note) for bench in benches for note in bench.record.notes)
    table.notes = [FIGURE_NOTE, *sorted(notes), *repeats(len(benches) - shown, "benches")]
    return table


def _conditions(benches: Sequence[Bench]) -> dict[str, str]:
    first = benches[0].record
    steps = listed(str(bench.record.measured_steps) for bench in benches)
    return {
        "Model": model_text(bench.record.model for bench in benches),
        "Data": f"rows of {first.task}" if first.task else "made-up rows",
        "Batch": f"{first.batch_size} rows of {first.sequence_length} tokens, {first.precision}",
        "Metric": f"medians of {steps} training steps, without loading and evaluation; "
        f"memory: {first.peak_memory_kind or 'not recorded'}",
        "Seeds": seeds(benches),
        "Hardware": machines(benches),
    }
