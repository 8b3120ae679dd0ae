"""What training added, for runs that were evaluated before their first step: one row a run."""

from collections.abc import Iterable

from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table
from rocoft_bench.report.tables.runs import METRIC_NAMES
from rocoft_bench.runs import RunRecord


def before_and_after(records: Iterable[RunRecord]) -> Table:
    """A table of each run's main metric before and after training, in percent, beside random answers."""
    ordered = list(records)
    table = Table("before-and-after", "before and after training", list(_COLUMNS), [_row(record) for record in ordered])
    table.notes = [f"{record.task['name']}: {record.protocol}; {record.data['eval_rows']} rows" for record in ordered]
    table.notes += sorted({f"{record.task['name']}: {note}" for record in ordered for note in record.notes})
    return table


_COLUMNS = (
    Column("task", "task"),
    Column("adapter", "adapter", ("",), decimals=0),
    Column("head", "head", ("",), decimals=0),
    Column("metric", "metric"),
    Column("before", "before", ("",)),
    Column("after", "after", ("",)),
    Column("random_baseline", "random", ("",), decimals=1),
    Column("train_seconds", "train s", ("",), decimals=0),
    Column("eval_seconds", "eval s", ("",), decimals=0),
)


def _row(record: RunRecord) -> Row:
    metric = record.task["metric_names"][0]
    numbers = {
        "adapter": record.parameters["adapter"],
        "head": record.parameters["head"],
        "before": _percent(record.initial_metrics, metric),
        "after": _percent(record.metrics, metric),
        "random_baseline": 100 * record.task["random_baseline"],
        "train_seconds": record.train_seconds,
        "eval_seconds": record.eval_seconds,
    }
    cells = {key: Cell((Stat(value),)) for key, value in numbers.items()}
    cells["task"] = Cell(text=f"{record.task['family']} {record.task['name']}")
    cells["metric"] = Cell(text=METRIC_NAMES.get(metric, metric))
    return Row(record.model["name"], record.label, cells)


def _percent(metrics: dict[str, float] | None, metric: str) -> float | None:
    return 100 * metrics[metric] if metrics else None
