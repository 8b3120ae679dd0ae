"""Table 8: LoRA and RoCoFT by rank, on query, key and value alone, on SST-2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from rocoft_bench import paper
from rocoft_bench.analysis.conditions import notes_by, origins, repeats, run_conditions, run_notes, stand_in_notes
from rocoft_bench.analysis.groups import (
    MODEL_KEY,
    Record,
    by_examples,
    comparability_key,
    compatible,
    group_compatible,
    key_of,
    records_of,
)
from rocoft_bench.analysis.naming import PAPER_MODEL, join_unique, reference_title, table_key
from rocoft_bench.analysis.pivot import (
    RUN_COSTS,
    CellValues,
    Reference,
    RowKey,
    in_columns,
    over_seeds,
    pivot,
    placed,
    without_unfinished_costs,
)
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.analysis.variants import bench_variants, run_variants

if TYPE_CHECKING:
    import pandas as pd

TASK = "sst2"

COUNTS = ("adapter", "head")

TITLES = {("lora", None): "LoRA", ("rocoft", "row"): "RoCoFT-Row", ("rocoft", "column"): "RoCoFT-Column"}
"""The paper's methods by name and mode, in its order."""

COLUMNS = [
    Column("train_seconds", "time", ("",), unit="s", decimals=0, better="lower"),
    Column(TASK, TASK, ("acc",), task=TASK, unit="%", better="higher"),
    Column("adapter", "adapter", ("",), unit="parameters", decimals=0),
    Column("head", "head", ("",), unit="parameters", decimals=0),
    Column("peak_memory_mib", "memory", ("",), unit="MiB", decimals=0, better="lower"),
]

NOTES = [
    "the paper's times are printed in minutes and seconds and its memory in MB, of hardware that it does not name and, "
    "for times, of a length of training that it does not name: they stand here without differences",
    "the paper's 0.022M for RoCoFT at rank 1 does not fit its other ranks: 12 layers × 3 matrices × 768 are 27,648",
]

OTHER_BENCHES = "{} benches under other circumstances stand with the numbers of Figure 2 only"


class Setting(NamedTuple):
    """A row of the paper's table."""

    rank: int
    method: str


def setting_of(record: Record) -> Setting | None:
    """The row that a method stands in; None for those that the table does not compare."""
    title = TITLES.get((record.method, record.mode))
    fits = title and isinstance(record.rank, int) and record.target_modules == ("key", "query", "value")
    return Setting(record.rank, title) if fits and title else None


def is_table_8(run: Record) -> bool:
    """Whether a run is of the kind that Table 8 compares: LoRA, or RoCoFT by row or column, of query, key and value
    alone, on SST-2. One that could not start, because its settings are wrong, is of no kind.
    """
    return (run.family, run.task) == ("glue", TASK) and bool(run.metric_names) and setting_of(run) is not None


def rank_tables(table: pd.DataFrame) -> list[Table]:
    """Table 8 for each model, data, protocol and checkpoint rule: accuracy from runs, time and memory from benches of
    the same methods where there are any, else from the runs.
    """
    values = table[(table.task == TASK) & (table.model_kind != "layer") & (table.source != "kernels")]
    known = [record for record in records_of(values) if setting_of(record)]
    benches = [record for record in known if record.source == "bench"]
    by = (*MODEL_KEY, "data_kind", "checkpoint", "protocol")
    alike = group_compatible(filter(is_table_8, known), lambda run: key_of(run, by))
    tables, used = [], set()
    for part in (part for own in alike for part in by_examples(own)):
        of_model = [b for b in benches if compatible(key_of(b, MODEL_KEY), key_of(part.runs[0], MODEL_KEY))]
        used |= {bench.id for bench in of_model}
        tables.append(_table(part.runs, of_model, values, part.difference))
    left = [bench for bench in benches if bench.id not in used]
    tables += [_table([], own, values) for own in group_compatible(left, lambda bench: key_of(bench, MODEL_KEY))]
    return sorted(tables, key=lambda made: (made.key != "table8", made.key))


def _table(runs: Sequence[Record], benches: Sequence[Record], values: pd.DataFrame, difference: str = "") -> Table:
    model = (*runs, *benches)[0].model
    most = max(group_compatible(benches, comparability_key), key=len, default=[])
    settings = {found for record in (*runs, *most) if (found := setting_of(record))}
    settings |= set(_printed()) if model == PAPER_MODEL else set()
    rows: dict[RowKey, list[Record]] = {}
    printed: dict[RowKey, paper.RankResult | None] = {}
    for setting in sorted(settings, key=lambda setting: (setting.rank, list(TITLES.values()).index(setting.method))):
        own = [[record for record in records if setting_of(record) == setting] for records in (runs, most)]
        for variant, records in _variants(*own):
            key = RowKey(model, setting.method, join_unique([f"rank {setting.rank}", variant]))
            rows[key], printed[key] = records, _printed().get(setting)
    shown = {record.id for records in rows.values() for record in records}
    left_out = {record.id for record in (*runs, *most)} - shown
    others = len(benches) - len(most)
    return Table(
        key=table_key("table8", model),
        title=join_unique([f"rank, {model}", difference]),
        columns=COLUMNS,
        rows=_rows(rows, printed, values, has_benches=bool(benches)),
        number="8",
        conditions=_conditions(runs, most),
        notes=[
            *stand_in_notes(model),
            *NOTES,
            *([OTHER_BENCHES.format(others)] if others else []),
            *notes_by(most, lambda bench: bench.label),
            *run_notes(runs),
            *repeats(len(left_out), "records"),
        ],
    )


def _variants(runs: Sequence[Record], benches: Sequence[Record]) -> Iterable[tuple[str, list[Record]]]:
    """A row for each of the settings of the runs, with the benches of the method; benches of several settings have
    rows of their own.
    """
    of_runs = run_variants(runs) if runs else {}
    of_benches = bench_variants(benches) if benches else {}
    if len(of_benches) == 1 and of_runs:
        (measured,) = of_benches.values()
        return [(name, [*own, *measured]) for name, own in of_runs.items()]
    rows = [*of_runs.items(), *((join_unique(["bench", name]), own) for name, own in of_benches.items())]
    return rows or [("", [])]


def _rows(
    rows: Mapping[RowKey, Sequence[Record]],
    printed: Mapping[RowKey, paper.RankResult | None],
    values: pd.DataFrame,
    has_benches: bool,
) -> list[Row]:
    """Time and memory are those of benches, if there are any; numbers of parameters are those of runs, if there are."""
    with_runs = [key for key, own in rows.items() if any(record.source == "run" for record in own)]
    runs = {record.id for own in rows.values() for record in own if record.source == "run"}
    columns = {("run", metric): metric for metric in RUN_COSTS if not has_benches or metric in COUNTS}
    columns |= {("run", "accuracy"): TASK, **{("bench", metric): metric for metric in COUNTS}}
    columns |= {("bench", "seconds_per_epoch"): "train_seconds", ("bench", "peak_memory_mib"): "peak_memory_mib"}
    own = in_columns(placed(values, [(record, key) for key, records in rows.items() for record in records]), columns)
    is_second = own.column.isin(COUNTS) & (own.source == "bench") & own.row.isin(with_runs)
    own = own.assign(value=without_unfinished_costs(own))[~is_second]

    def cost(column: Column, values: CellValues) -> Cell:
        """Of benches over seeds; of runs as in their tables, but time and memory know their runs."""
        if runs.isdisjoint(values.ids):
            return over_seeds(column, values)
        cell = RUN_COSTS[column.key](column, values)
        return cell if column.key in COUNTS else replace(cell, runs=tuple(values.ids))

    def reference(key: RowKey, column: Column, place: int) -> Reference | None:
        if (of_paper := printed[key]) is None:
            return None
        return {
            "train_seconds": Reference(of_paper.train_seconds, compare=False),
            TASK: Reference(100 * of_paper.accuracy, compare=key.model == PAPER_MODEL),
            "adapter": Reference(text=f"{of_paper.trainable_millions}M"),
            "peak_memory_mib": Reference(of_paper.memory_mb, compare=False),
        }.get(column.key)

    return pivot(own, rows, COLUMNS, reference, dict.fromkeys(RUN_COSTS, cost), reference_title)


@cache
def _printed() -> dict[Setting, paper.RankResult]:
    return {Setting(row.rank, row.method): row for row in paper.rank_efficiency()}


def _conditions(runs: Sequence[Record], benches: Sequence[Record]) -> dict[str, str]:
    """Those of the runs, and which time and memory are meant."""
    source = "time of a whole training without evaluation, and memory, of the runs"
    if benches:
        first = benches[0]
        batch = f"batches of {first.batch_size} examples of {first.sequence_length} tokens, {first.precision}"
        source = f"time of one epoch and memory of `rocoft bench`: {batch}, {first.hardware}"
    return {**(run_conditions(runs) if runs else origins(benches)), "Time and memory": source}
