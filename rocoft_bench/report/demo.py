"""What training added, for runs that were evaluated before their first step: one row a run."""

from __future__ import annotations

from collections.abc import Iterable

from rocoft_bench.report.tables import METRIC_NAMES, Row, Table
from rocoft_bench.runs import RunRecord

COLUMNS = ["task", "model", "method", "adapter", "head", "metric", "before", "after", "guessing", "train s", "eval s"]


def before_and_after(records: Iterable[RunRecord]) -> Table:
    """A table of each run's main metric before and after training, in percent, beside what a guess would score."""
    ordered = list(records)
    table = Table("before and after training", COLUMNS, [Row(_cells(record)) for record in ordered])
    table.notes = [f"{record.task['name']}: {record.protocol}; {record.data['eval_rows']} rows" for record in ordered]
    table.notes += sorted({f"{record.task['name']}: {note}" for record in ordered for note in record.notes})
    return table


def _cells(record: RunRecord) -> list[str]:
    metric = record.task["metric_names"][0]
    return [
        f"{record.task['family']} {record.task['name']}",
        record.model["name"],
        record.label,
        f"{record.parameters['adapter']:,}",
        f"{record.parameters['head']:,}",
        METRIC_NAMES.get(metric, metric),
        _percent(record.initial_metrics, metric),
        _percent(record.metrics, metric),
        f"{100 * record.task['random_baseline']:.1f}",
        f"{record.train_seconds:.0f}",
        f"{record.eval_seconds:.0f}",
    ]


def _percent(metrics: dict[str, float] | None, metric: str) -> str:
    return f"{100 * metrics[metric]:.2f}" if metrics else ""
