"""Over methods: how near the kernel of what a method trains is to that of all parameters, how well regression with it
does, and what training really gives. The paper has no such table.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rocoft_bench.analysis.conditions import seeds
from rocoft_bench.analysis.naming import in_examples, merge_notes, model_key, model_name, table_key
from rocoft_bench.analysis.pivot import stat_of
from rocoft_bench.analysis.records import Stored
from rocoft_bench.analysis.table import Cell, Column, Row, Table, with_unique_keys
from rocoft_bench.report.tables.kernel_tables import method_label
from rocoft_bench.runs import Kernel, KernelRecord

KEY = "kernels-against-training"
OF_METHOD = ("method", "run", "kernels", "fine_tuning")
"""Settings in which the analyses of a table differ."""
DISTANCE, ACCURACY, FINE_TUNED = "distance_2", "accuracy", "fine_tuned"
AFTER = "after_"
"""Begins what holds of a kernel in the state of a finished run."""

COLUMNS = (
    Column("parameters", "parameters", ("",), decimals=0),
    Column("distance_1", "distance to K_θ, p=1", ("",), decimals=3, better="lower"),
    Column(DISTANCE, "p=2", ("",), decimals=3, better="lower"),
    Column("alignment", "alignment with K_θ", ("",), decimals=3, better="higher"),
    Column(ACCURACY, "kernel acc", ("",), unit="%", decimals=1, better="higher"),
    Column(FINE_TUNED, "fine-tuned acc", ("",), unit="%", decimals=1, better="higher"),
    Column(f"{AFTER}{DISTANCE}", "after training: p=2", ("",), decimals=3, better="lower"),
    Column(f"{AFTER}alignment", "alignment", ("",), decimals=3, better="higher"),
    Column(f"{AFTER}{ACCURACY}", "kernel acc", ("",), unit="%", decimals=1, better="higher"),
)


OfMethods = dict[tuple[str, str], list[tuple[Stored[KernelRecord], dict[str, float | None]]]]
"""Analyses by task and method, each with its values by column."""


def tables_against_training(analyses: Sequence[Stored[KernelRecord]]) -> list[Table]:
    """One for each model, number of shots and way of making kernels by which several methods were analysed."""
    groups: dict[tuple[Any, ...], OfMethods] = {}
    for analysis in sorted(analyses, key=lambda own: own.record.finished_at):
        record = analysis.record
        if values := _values(record):
            method = record.settings.get("method")
            label = "all parameters" if method is None else method_label(method)
            rest = {name: value for name, value in record.settings.items() if name not in OF_METHOD}
            key = (*model_key(record.model), record.shots, json.dumps(rest, sort_keys=True))
            groups.setdefault(key, {}).setdefault((record.task, label), []).append((analysis, values))
    return with_unique_keys(_table(own) for own in groups.values() if len({label for _, label in own}) > 1)


def _values(record: KernelRecord) -> dict[str, float | None]:
    """Nothing of one that failed, or is neither of a method nor of all parameters."""
    of_all, kernels = record.settings.get("method") is None, record.kernels
    own = kernels.get("K_full" if of_all else "K_trained")
    if record.status != "ok" or own is None:
        return {}
    tuned = kernels.get("full_ft" if of_all else "trained_ft", Kernel())
    distances = {"1": 0.0, "2": 0.0} if of_all else own.relative_difference
    of_kernel = {
        "distance_1": distances.get("1"),
        DISTANCE: distances.get("2"),
        "alignment": 1.0 if of_all else own.alignment,
        ACCURACY: _percent(own),
    }
    when = AFTER if "run" in record.settings else ""
    values = {f"{when}{name}": value for name, value in of_kernel.items()}
    return {**values, "parameters": own.parameters, FINE_TUNED: _percent(tuned)}


def _percent(kernel: Kernel) -> float | None:
    return None if kernel.accuracy is None else 100 * kernel.accuracy


def _table(found: OfMethods) -> Table:
    records = [analysis.record for own in found.values() for analysis, _ in own]
    model, shots = model_name(records[0].model), records[0].shots
    rows = [Row(model, label, dict(_cells(own)), variant=task) for (task, label), own in sorted(found.items())]
    protocols = merge_notes((record.task, in_examples(record.protocol)) for record in records)
    return Table(
        key=table_key(f"{KEY}-{shots}-shot", model),
        title=f"kernels of what methods train against fine-tuning, {shots}-shot, {model}",
        columns=[column for column in COLUMNS if any(column.key in row.cells for row in rows)],
        rows=rows,
        conditions={"Model": model, "Protocol": "; ".join(protocols), "Seeds": seeds(records)},
        notes=[
            "the kernel is of the parameters that a method trains, before training; K_θ is of all, before training",
            "fine-tuned: by that method on the same prompts and draws, with its own learning rate",
            "the paper has no such table",
        ],
    )


def _cells(found: Sequence[tuple[Stored[KernelRecord], dict[str, float | None]]]) -> Iterator[tuple[str, Cell]]:
    """Mean and deviation over seeds; of several analyses of one seed the latest counts."""
    for column in COLUMNS:
        by_seed = {
            analysis.record.seed: (value, analysis.id)
            for analysis, values in found
            if (value := values.get(column.key)) is not None
        }
        if by_seed:
            stat = stat_of([value for value, _ in by_seed.values()])
            stat = replace(stat, deviation=None) if column.key == "parameters" else stat
            yield column.key, Cell((stat,), runs=tuple(id for _, id in by_seed.values()))
