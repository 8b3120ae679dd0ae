"""What training runs cost in time and memory, for where there are no benches."""

from collections.abc import Iterator, Sequence

from rocoft_bench.analysis.groups import Key, group_compatible
from rocoft_bench.analysis.naming import UNKNOWN, hardware, model_key, model_name
from rocoft_bench.analysis.pivot import stat_of
from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.runs import RunRecord

COLUMNS = [
    Column("peak_memory_mib", "peak", ("",), unit="MiB"),
    Column("seconds_per_step", "step", ("",), unit="s"),
    Column("epoch_minutes", "epoch", ("",), unit="min"),
]


def run_cost_tables(runs: Sequence[Run]) -> Iterator[Table | str]:
    """A table for each model and machine, of the task that the most methods were trained on; a sentence on runs that do
    not name their hardware.
    """
    measured = [run for run in runs if _is_complete(run.record)]
    known = [run for run in measured if hardware(run.provenance) != UNKNOWN]
    if len(known) < len(measured):
        yield f"memory and time: {len(measured) - len(known)} runs left out, which do not name their hardware"
    for group in group_compatible(known, lambda run: (*model_key(run.record.model), hardware(run.provenance))):
        chosen = max(group_compatible(group, _work), key=lambda own: len({run.record.label for run in own}))
        record, model, machine = chosen[0].record, model_name(chosen[0].record.model), hardware(chosen[0].provenance)
        conditions = {
            "Model": model,
            "Hardware": machine,
            "Data": f"{record.task['name']} ({record.data.get('train_rows')} examples)",
            "Memory": record.peak_memory_kind or UNKNOWN,
        }
        title = f"{model}, {record.task['name']}, {machine}"
        if len(rows := _rows(model, chosen)) > 1:
            yield Table(f"{model}-{machine}", title, COLUMNS, rows, conditions=conditions)


def _is_complete(record: RunRecord) -> bool:
    return record.status == "ok" and None not in (record.peak_memory_mib, record.train_seconds) and bool(record.steps)


def _work(run: Run) -> Key:
    """What has to be the same for times and memory to be compared."""
    record = run.record
    examples = record.data.get("train", {}).get("sha256"), record.data.get("train_rows")
    return record.task["name"], *examples, record.processes, record.peak_memory_kind


def _rows(model: str, runs: Sequence[Run]) -> list[Row]:
    """The mean over seeds of each method, and of each of its settings if there are several."""
    rows: list[Row] = []
    for own in group_compatible(runs, lambda run: (run.record.label, run.record.settings_hash)):
        records = [run.record for run in own]
        label = records[0].label
        others = sum(row.method == label for row in rows)
        minutes = [found for record in records if (found := _epoch_minutes(record)) is not None]
        values = {
            "peak_memory_mib": [max(record.peak_memory_mib or 0.0 for record in records)],
            "seconds_per_step": [(record.train_seconds or 0.0) / (record.steps or 1) for record in records],
            **({"epoch_minutes": minutes} if len(minutes) == len(own) else {}),
        }
        cells = {key: Cell((stat_of(of_seeds),), runs=tuple(run.id for run in own)) for key, of_seeds in values.items()}
        rows.append(Row(model, label, cells, f"settings {others + 1}" if others else ""))
    return rows


def _epoch_minutes(record: RunRecord) -> float | None:
    epochs = len(record.epoch_metrics) or (record.kept_epoch if record.keep == "last" else None)
    return (record.train_seconds or 0.0) / 60 / epochs if epochs else None
