"""Table 8: LoRA and RoCoFT by rank, on query, key and value alone, on SST-2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from rocoft_bench import paper
from rocoft_bench.analysis.conditions import conditions, data_kind, run_notes
from rocoft_bench.analysis.groups import (
    PAPER_MODEL,
    agree,
    alike,
    latest,
    listed,
    machines,
    model_facts,
    model_name,
    model_text,
    reference_title,
    repeats,
    said,
    seeds,
    stand_in_notes,
    table_key,
)
from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.table import Cell, Column, Row, Table
from rocoft_bench.report.tables.benches import (
    Bench,
    bench_cell,
    circumstances,
    circumstances_text,
    parameters,
    variants_of,
)
from rocoft_bench.report.tables.cells import costs, count, failures, part
from rocoft_bench.report.tables.variants import variants
from rocoft_bench.runs import RunRecord

TASK = "sst2"

TARGETS = ["key", "query", "value"]

METHODS = ("LoRA", "RoCoFT-Row", "RoCoFT-Column")

SECONDS = Column("train_seconds", "time", ("",), unit="s", decimals=0, better="lower")
ACCURACY = Column(TASK, TASK, ("acc",), task=TASK, unit="%", better="higher")
ADAPTER = Column("adapter", "adapter", ("",), unit="parameters", decimals=0)
HEAD = Column("head", "head", ("",), unit="parameters", decimals=0)
MEMORY = Column("peak_memory_mib", "memory", ("",), unit="MiB", decimals=0, better="lower")

NOTES = [
    "the paper's times are printed in minutes and seconds and its memory in MB, of hardware that it does not name and, "
    "for times, of a length of training that it does not name: they stand here without differences",
    "the paper's 0.022M for RoCoFT at rank 1 does not fit its other ranks: 12 layers × 3 matrices × 768 are 27,648",
]


@dataclass(frozen=True)
class Place:
    """A row of the table, ordered as the paper's."""

    rank: int
    method: str

    @property
    def order(self) -> tuple[int, int]:
        return (self.rank, METHODS.index(self.method))


def is_table_8(record: RunRecord) -> bool:
    """Whether a run is of the kind that Table 8 compares: LoRA, or RoCoFT by row or column, of query, key and value
    alone, on SST-2. One that could not start, because its settings are wrong, is of no kind.
    """
    is_of_task = (record.task["family"], record.task["name"]) == ("glue", TASK)
    return is_of_task and bool(record.task["metric_names"]) and _place(record.method) is not None


def _place(method: Mapping[str, Any]) -> Place | None:
    targets, rank = method.get("target_modules"), method.get("rank")
    if not isinstance(rank, int) or not isinstance(targets, list) or sorted(map(str, targets)) != TARGETS:
        return None
    titles = {"lora": "LoRA", "rocoft row": "RoCoFT-Row", "rocoft column": "RoCoFT-Column"}
    title = titles.get(" ".join(filter(None, [method.get("name"), method.get("mode")])))
    return Place(rank, title) if title else None


def rank_tables(runs: Iterable[Run], benches: Iterable[Bench]) -> list[Table]:
    """Table 8 for each model, data, protocol and checkpoint rule: accuracy from runs, time and memory from benches of
    the same methods where there are any, else from the runs.
    """
    own_runs = [run for run in runs if is_table_8(run.record)]
    left = [bench for bench in benches if bench.record.task == TASK and _place(bench.record.method)]
    tables = []
    for same in alike(own_runs, _run_facts):
        tables.append(_table(same, [bench for bench in left if _is_of_model(bench, same[0])]))
    left = [bench for bench in left if not any(_is_of_model(bench, run) for run in own_runs)]
    tables += [_table([], same) for same in alike(left, lambda bench: model_facts(bench.record.model))]
    return sorted(tables, key=lambda table: (table.key != "table8", table.key))


def _is_of_model(bench: Bench, run: Run) -> bool:
    return agree(model_facts(bench.record.model), model_facts(run.record.model))


def _run_facts(run: Run) -> tuple[Any, ...]:
    record = run.record
    return (*model_facts(record.model), data_kind(record), record.keep, record.protocol)


def _table(runs: Sequence[Run], benches: Sequence[Bench]) -> Table:
    models = [*(run.record.model for run in runs), *(bench.record.model for bench in benches)]
    model = model_name(models[0])
    table = Table(table_key("table8", model), f"rank, {model}", [SECONDS, ACCURACY, ADAPTER, HEAD, MEMORY], number="8")
    comparable = _most_comparable(benches)
    methods = [*(run.record.method for run in runs), *(bench.record.method for bench in comparable)]
    places = {place for method in methods if (place := _place(method))}
    if model == PAPER_MODEL:
        places |= set(_printed())
    for place in sorted(places, key=lambda place: place.order):
        own = [run for run in runs if _place(run.record.method) == place]
        table.rows += _rows(model, place, own, [b for b in comparable if _place(b.record.method) == place], not benches)
    shown = {id for row in table.rows for cell in row.cells.values() for id in cell.runs}
    left_out = {*(run.id for run in runs), *(bench.id for bench in comparable)} - shown
    table.conditions = _conditions(runs, comparable, models)
    table.notes = [
        *stand_in_notes(model),
        *NOTES,
        *_bench_notes(benches, comparable),
        *run_notes(runs),
        *repeats(len(left_out), "records"),
    ]
    return table


def _most_comparable(benches: Sequence[Bench]) -> list[Bench]:
    """The benches under those circumstances that most of them share."""
    return max(alike(benches, circumstances), key=len, default=[])


def _rows(model: str, place: Place, runs: Sequence[Run], benches: Sequence[Bench], costs_of_runs: bool) -> list[Row]:
    """A row for each of the settings of the runs, with the benches of the method; benches of several settings have
    rows of their own.
    """
    of_runs = {name: latest(own) for name, own in variants(runs).items()} if runs else {}
    of_benches = {name: latest(own) for name, own in variants_of(benches)} if benches else {}
    if len(of_benches) == 1 and of_runs:
        measured = next(iter(of_benches.values()))
        return [_row(model, place, name, own, measured, costs_of_runs) for name, own in of_runs.items()]
    rows = [_row(model, place, name, own, [], costs_of_runs) for name, own in of_runs.items()]
    rows += [
        _row(model, place, listed(filter(None, ["bench", name])), [], own, False) for name, own in of_benches.items()
    ]
    return rows or [_row(model, place, "", [], [], costs_of_runs)]


def _row(
    model: str, place: Place, variant: str, runs: Sequence[Run], benches: Sequence[Bench], costs_of_runs: bool
) -> Row:
    printed = _printed().get(place)
    if costs_of_runs:
        cells = {key: replace(cell, runs=tuple(run.id for run in runs)) for key, cell in costs(runs).items()}
    else:
        cells = {
            "train_seconds": bench_cell(benches, lambda record: record.seconds_per_epoch),
            "peak_memory_mib": bench_cell(benches, lambda record: record.peak_memory_mib),
        }
    for kind in ("adapter", "head"):
        cells[kind] = count(runs, kind) if runs else bench_cell(benches, parameters(kind))
    cells[TASK] = _accuracy(runs, 100 * printed.accuracy if printed else None, model == PAPER_MODEL)
    if printed:
        cells["adapter"] = replace(cells["adapter"], reference_text=f"{printed.trainable_millions}M")
        cells["train_seconds"] = _beside(cells["train_seconds"], printed.train_seconds)
        cells["peak_memory_mib"] = _beside(cells["peak_memory_mib"], printed.memory_mb)
    named = listed(filter(None, [f"rank {place.rank}", variant]))
    return Row(model, place.method, cells, named, reference_title(model) if printed else "")


def _accuracy(runs: Sequence[Run], printed: float | None, comparable: bool) -> Cell:
    finished = [run.record.metrics for run in runs if run.record.metrics]
    values = [100 * metrics["accuracy"] for metrics in finished if "accuracy" in metrics]
    return Cell((part(values, printed, comparable),), runs=tuple(run.id for run in runs), failures=failures(runs))


def _beside(cell: Cell, reference: float) -> Cell:
    return replace(cell, parts=(replace(cell.parts[0], reference=reference),))


@cache
def _printed() -> dict[Place, paper.RankResult]:
    return {Place(row.rank, row.method): row for row in paper.rank_efficiency()}


def _conditions(runs: Sequence[Run], benches: Sequence[Bench], models: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Those of the runs, and which time and memory are meant."""
    of_benches = {
        "Model": model_text(models),
        "Seeds": seeds(benches),
        "Hardware": machines(benches),
    }
    source = "time of a whole training without evaluation, and memory, of the runs"
    if benches:
        source = f"time of one epoch and memory of `rocoft bench`: {circumstances_text(benches[0])}"
    return {**(conditions(runs) if runs else of_benches), "Time and memory": source}


def _bench_notes(benches: Sequence[Bench], comparable: Sequence[Bench]) -> list[str]:
    """What the benches say of themselves, and how many were taken under other circumstances."""
    others = len(benches) - len(comparable)
    left_out = [f"{others} benches under other circumstances stand with the numbers of Figure 2 only"] if others else []
    return [*left_out, *sorted(said((bench.record.label, note) for bench in comparable for note in bench.record.notes))]
