"""What training costs: the numbers of Figure 2, from `rocoft bench`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rocoft_bench.analysis.conditions import notes_by, origins, repeats
from rocoft_bench.analysis.groups import (
    MODEL_KEY,
    Record,
    comparability_key,
    group_compatible,
    key_of,
    records_of,
)
from rocoft_bench.analysis.naming import PAPER_MODEL, UNKNOWN, join_unique, table_key
from rocoft_bench.analysis.pivot import RowKey, in_columns, pivot, placed
from rocoft_bench.analysis.table import Column, Table
from rocoft_bench.analysis.variants import bench_variants

if TYPE_CHECKING:
    import pandas as pd


def _column(key: str, title: str, unit: str, decimals: int) -> Column:
    return Column(key, title, ("",), unit=unit, decimals=decimals, better="lower")


COLUMNS = {
    "seconds_per_step": _column("seconds_per_step", "step", "s", 4),
    "seconds_per_epoch": _column("epoch_minutes", "epoch", "min", 2),
    "model_memory_mib": _column("model_memory_mib", "model", "MiB", 0),
    "optimization_memory_mib": _column("optimization_memory_mib", "optimization", "MiB", 0),
    "peak_memory_mib": _column("peak_memory_mib", "peak", "MiB", 0),
    "flops_per_step": _column("gflop_per_step", "step", "GFLOP", 1),
    "saved_bytes_per_step": _column("saved_mib_per_step", "saved for backward", "MiB", 1),
    "seconds_beside_frozen": _column("seconds_beside_frozen", "step", "× frozen", 3),
    "added_operations_per_layer": _column("added_operations_per_layer", "operations per layer", "beside frozen", 1),
}
"""By what benches measure."""

UNITS = {"seconds_per_epoch": 60, "flops_per_step": 1e9, "saved_bytes_per_step": 2**20}
"""What the columns' units are in those of the records."""

FIGURE_NOTE = (
    "the paper prints no numbers for Figure 2 and does not name its model, batch or hardware; "
    'its text says "approximately 2.85GB" of RoCoFT'
)


def cost_tables(table: pd.DataFrame) -> list[Table]:
    """Figure 2: a table for each model, task, shape of batch, precision and machine."""
    values = table[(table.source == "bench") & (table.model_kind != "layer")]
    groups = group_compatible(records_of(values), lambda bench: (*key_of(bench, MODEL_KEY), *comparability_key(bench)))
    groups.sort(key=lambda own: (own[0].model != PAPER_MODEL, own[0].model, str(comparability_key(own[0]))))
    return [_table(own, values) for own in groups]


def _table(benches: Sequence[Record], values: pd.DataFrame) -> Table:
    model, task = benches[0].model, benches[0].task
    places = [
        (bench, RowKey(model, label, variant))
        for label in sorted({bench.label for bench in benches})
        for variant, same in bench_variants([bench for bench in benches if bench.label == label]).items()
        for bench in same
    ]
    own = in_columns(placed(values, places), {("bench", metric): column.key for metric, column in COLUMNS.items()})
    own = own.assign(value=own.value / [UNITS.get(metric, 1) for metric in own.metric])
    columns = list(COLUMNS.values())
    return Table(
        key=table_key("figure2", model),
        title=join_unique(["time and memory of training", model, task]),
        columns=columns,
        rows=pivot(own, dict.fromkeys(key for _, key in places), columns),
        number="Figure 2",
        conditions=_conditions(benches),
        notes=[
            FIGURE_NOTE,
            *notes_by(benches, lambda bench: bench.label),
            *repeats(len(benches) - len(places), "benches"),
        ],
    )


def _conditions(benches: Sequence[Record]) -> dict[str, str]:
    first, of_any = benches[0], origins(benches)
    steps = join_unique(str(bench.measured_steps) for bench in benches)
    return {
        "Model": of_any.pop("Model"),
        "Data": f"examples of {first.task}" if first.task else "made-up examples",
        "Batch": f"{first.batch_size} examples of {first.sequence_length} tokens, {first.precision}",
        "Metric": f"medians of {steps} training steps, without loading and evaluation; "
        f"memory: {first.peak_memory_kind or UNKNOWN}",
        **of_any,
    }
