"""Tables of training runs, laid out as the paper's where they belong there: a row per method, a column per task."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rocoft_bench import paper, tasks
from rocoft_bench.analysis.conditions import UNPARSED, conditions, cost_note, data_kind, run_notes, unparsed_notes
from rocoft_bench.analysis.groups import alike, latest, model_name, repeats, with_unique_keys
from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.statistics import mean_ranks
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, with_highlights
from rocoft_bench.report.tables.cells import costs, count, task_cell
from rocoft_bench.report.tables.layouts import STAND_INS, Layout, layout_of, references
from rocoft_bench.report.tables.ranks import TASK as TASK_8
from rocoft_bench.report.tables.ranks import is_table_8
from rocoft_bench.report.tables.variants import circumstances, variants
from rocoft_bench.runs import RunRecord

METRIC_NAMES = {
    "matthews_correlation": "mcc",
    "accuracy": "acc",
    "f1": "F1",
    "pearson": "r",
    "spearman": "rho",
    "exact_match": "EM",
    "rouge1": "R1",
    "rouge2": "R2",
    "rougeL": "RL",
}


@dataclass(frozen=True)
class Group:
    """Runs that may stand in one table agree in all of this. model: None where the layout has a place for each."""

    layout: Layout | None
    family: str
    model: str | None
    data_kind: str
    keep: str
    protocol: str
    loss: str
    has_all_rows: bool

    @property
    def key(self) -> str:
        base = self.layout.key if self.layout else f"{self.family}-{self.model}"
        return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(filter(None, [base, *self._differences])))

    @property
    def title(self) -> str:
        base = self.layout.title if self.layout else f"{self.family}, {self.model}"
        return ", ".join([base, *self._differences])

    @property
    def _differences(self) -> list[str]:
        """In what it is not as the paper's tables are taken to be."""
        usual = {"hub", "last", "strict", "sequence", "embedded"}
        names = {"data_dir": "local data", "best": "best epoch", "published": "published protocol"}
        names |= {"likelihood": "likelihood of choices", "response": "loss on the response"}
        found = (self.data_kind, self.keep, self.protocol, self.loss)
        named = [names.get(value, value) for value in found if value and value not in usual]
        return named if self.has_all_rows else [*named, "first rows only"]


def build_tables(runs: Iterable[Run]) -> list[Table]:
    """A table for each layout of the paper, or else family and model; runs that differ in data, protocol, loss or
    checkpoint rule never meet. Combinations of a sweep that could not be run, because their settings are wrong, have a
    table of their own. Those that Table 8 alone has a place for are left to `efficiency_tables`, and counted in a note.
    """
    known = list(runs)
    wrong = [run for run in known if not run.record.task["metric_names"]]
    right = [run for run in known if run.record.task["metric_names"]]
    elsewhere = _of_table_8_alone(right)
    left = Counter(_group_of(run.record) for run in right if run.id in elsewhere)
    groups: dict[Group, list[Run]] = {}
    for run in right:
        if run.id not in elsewhere:
            groups.setdefault(_group_of(run.record), []).append(run)
    tables = []
    for group in sorted(groups, key=_order):
        table = _table(group, groups[group])
        table.notes += [f"{TASK_8}: {left[group]} {RANK_RUNS}"] if left[group] else []
        tables.append(table)
    return with_unique_keys([*tables, *([_wrong_settings(wrong)] if wrong else [])])


def _of_table_8_alone(runs: Sequence[Run]) -> set[str]:
    """The ids of runs whose method, of one rank on query, key and value, no other task was trained with. With other
    tasks they are part of a row, and stand in both tables.
    """

    def trained(record: RunRecord) -> tuple[str, str]:
        return model_name(record.model), json.dumps(record.method, sort_keys=True)

    rows = {trained(run.record) for run in runs if not is_table_8(run.record)}
    return {run.id for run in runs if is_table_8(run.record) and trained(run.record) not in rows}


def selection_tables(runs: Iterable[Run]) -> list[Table]:
    """Figure 4: RoCoFT of rank 4 by the way its rows or columns were chosen, wherever more than one way was tried."""
    groups: dict[Group, list[Run]] = {}
    for run in runs:
        if _is_of_figure_4(run.record):
            group = _group_of(run.record)
            groups.setdefault(replace(group, layout=None, model=model_name(run.record.model)), []).append(run)
    tables = [_table(group, own) for group, own in sorted(groups.items(), key=lambda item: item[0].title)]
    for table in tables:
        table.key, table.number = f"figure4-{table.key}", "Figure 4"
        table.title = f"selection of rows and columns, {table.title}"
    return [table for table in tables if len({row.variant for row in table.rows}) > 1]


def _is_of_figure_4(record: RunRecord) -> bool:
    method = record.method
    by_rank = method.get("name") == "rocoft" and method.get("mode") in ("row", "column") and method.get("rank") == 4
    return by_rank and method.get("target_modules") is None and record.task["family"] == "glue"


def _group_of(record: RunRecord) -> Group:
    layout, settings = layout_of(record), record.task.get("settings", {})
    protocol = settings.get("protocol", "")
    return Group(
        layout=layout,
        family=layout.families[0] if layout else record.task["family"],
        model=None if layout else model_name(record.model),
        data_kind=data_kind(record),
        keep=record.keep,
        protocol="likelihood" if settings.get("scoring") == "likelihood" else protocol,
        loss=settings.get("loss_on", ""),
        has_all_rows=not (settings.get("max_train_rows") or settings.get("max_eval_rows")),
    )


def _order(group: Group) -> tuple[int, str]:
    return (int(group.layout.number) if group.layout else 99, group.title)


def _table(group: Group, runs: Sequence[Run]) -> Table:
    columns = _task_columns(group, runs)
    table = Table(group.key, group.title, columns, number=group.layout.number if group.layout else None)
    models = dict.fromkeys(
        (*(group.layout.models if group.layout else ()), *(model_name(run.record.model) for run in runs))
    )
    of_model: dict[str, list[Run]] = {model: [] for model in models}
    for run in runs:
        of_model[model_name(run.record.model)].append(run)
    left_out = 0
    unlike_notes: list[str] = []
    for model, own in of_model.items():
        rows, repeated = _rows(group, model, own, columns)
        unlike = {column.key: others for column in columns if (others := _judged_otherwise(rows, column, own))}
        table.rows += _ranked(rows, columns, [column for column in columns if column.key not in unlike])
        unlike_notes += [f"{model}, {task}: {', '.join(others)}: {UNLIKE}" for task, others in unlike.items()]
        left_out += repeated
    table.columns = [_ADAPTER, _HEAD, *columns, *_summaries(table.rows, columns), _SECONDS, _MEMORY]
    table.conditions = conditions(runs)
    if said := _of_the_paper(group, table.rows):
        table.conditions["Paper"] = "; ".join(said)
    table.notes = [*repeats(left_out, "runs"), *unlike_notes, *unparsed_notes(runs), cost_note(runs), *run_notes(runs)]
    return table


RANK_RUNS = "runs of single ranks on query, key and value, with which no other task was trained, stand in Table 8 alone"

UNLIKE = (
    "other rows, weights or protocol than the other methods; none is marked as the best of this task, which does not "
    "count in mean ranks"
)

_ADAPTER = Column("adapter", "adapter", ("",), decimals=0)
_HEAD = Column("head", "head", ("",), decimals=0)
_AVERAGE = Column("average", "avg.", ("first", "second"), better="higher")
_MEAN_RANK = Column("mean_rank", "mean rank", ("",), better="lower")
_SECONDS = Column("train_seconds", "train s", ("",), decimals=0)
_MEMORY = Column("peak_memory_mib", "MiB", ("",), decimals=0)


def _task_columns(group: Group, runs: Sequence[Run]) -> list[Column]:
    """A column for each task that the paper's table has or that was run, in the order of the registry."""
    metrics = {run.record.task["name"]: _metrics(run.record.task) for run in runs}
    if group.layout:
        for task in tasks.all_tasks():
            if task.family in group.layout.families and task.paper_task in group.layout.tasks:
                metrics.setdefault(task.name, _metrics({"metric_names": task.metric_names}))
    order = {task.name: index for index, task in enumerate(tasks.all_tasks())}
    return [
        Column(name, name, tuple(METRIC_NAMES.get(m, m) for m in metrics[name]), task=name, better="higher")
        for name in sorted(metrics, key=lambda name: order.get(name, len(order)))
    ]


def _metrics(task: Mapping[str, Any]) -> list[str]:
    """What a task's results are compared by."""
    return [name for name in task["metric_names"] if name != UNPARSED]


def _rows(group: Group, model: str, runs: Sequence[Run], columns: Sequence[Column]) -> tuple[list[Row], int]:
    """A row for each method of the paper and of the runs, and how many runs repeat others and are left out."""
    printed = group.layout.methods(model) if group.layout else []
    own: dict[str, dict[str, list[Run]]] = {title: {} for title in printed}
    for run in sorted(runs, key=lambda run: run.record.label):
        own.setdefault(run.record.label, {}).setdefault(run.record.task["name"], []).append(run)
    rows = []
    counted = 0
    for title, by_task in own.items():
        cells: dict[str, dict[str, list[Run]]] = {} if by_task else {"": {}}
        for task, here in by_task.items():
            for variant, same in variants(here).items():
                cells.setdefault(variant, {})[task] = latest(same)
                counted += len(cells[variant][task])
        rows += [_row(group, model, title, variant, cells[variant], columns) for variant in sorted(cells)]
    return rows, len(runs) - counted


def _row(
    group: Group, model: str, title: str, variant: str, runs: Mapping[str, list[Run]], columns: Sequence[Column]
) -> Row:
    known = group.layout is not None and model in group.layout.models
    paper_model = model if known else STAND_INS.get(group.family, "")
    printed = references(paper_model, title)
    comparable = known and group.protocol != "strict" and group.has_all_rows
    names = {task.name: task for task in tasks.all_tasks()}
    cells = {}
    for column in columns:
        task = names.get(column.key)
        own = runs.get(column.key, ())
        metrics = _metrics(own[0].record.task) if own else _metrics({"metric_names": task.metric_names if task else ()})
        cells[column.key] = task_cell(metrics, task.paper_task if task else None, own, printed, comparable)
    flat = [run for same in runs.values() for run in same]
    millions = next((f"{result.trainable_millions}M" for result in printed.values()), "")
    cells["adapter"] = replace(count(flat, "adapter"), reference_text=millions)
    cells["head"] = count(flat, "head")
    cells |= costs(flat)
    reference_title = ("paper" if known else f"paper ({paper_model})") if printed else ""
    return Row(model, title, cells, variant, reference_title)


def _judged_otherwise(rows: Sequence[Row], column: Column, runs: Sequence[Run]) -> list[str]:
    """The rows whose results on a task cannot be compared with those of most others."""
    known = {run.id: run for run in runs if run.record.metrics}
    results = [(row, known[id]) for row in rows for id in row.cell(column).runs if id in known]
    groups = sorted(alike(results, lambda result: circumstances(result[1])), key=len)
    return list(dict.fromkeys(row.title for group in groups[:-1] for row, _ in group))


def _ranked(rows: list[Row], columns: Sequence[Column], comparable: Sequence[Column]) -> list[Row]:
    """The rows with their averages and mean ranks over tasks, the best marked where rows can be compared."""
    marked = [*comparable, _AVERAGE] if len(comparable) == len(columns) else list(comparable)
    return with_highlights(_with_summaries(rows, columns, comparable), [*marked, _MEAN_RANK])


def _with_summaries(rows: list[Row], columns: Sequence[Column], comparable: Sequence[Column]) -> list[Row]:
    ranks = _mean_ranks(rows, comparable)
    return [
        replace(
            row, cells={**row.cells, "average": _average(row, columns), "mean_rank": _rank_cell(ranks.get(row.title))}
        )
        for row in rows
    ]


def _average(row: Row, columns: Sequence[Column]) -> Cell:
    """Means over all tasks of the first metrics, and of the second ones, as in Table 1; none if a task is missing.

    The reference is the average that the paper prints, which is not always the mean of its cells (`paper_audit`); there
    is no difference to it where the cells have none.
    """
    printed = references(row.model, row.method)
    parts = []
    for index, name in enumerate(("mean_first_metric", "mean_second_metric")):
        own = [row.cell(c).parts[index] for c in columns if len(row.cell(c).parts) > index]
        known = [part.value for part in own if part.value is not None]
        mean = sum(known) / len(known) if len(known) == len(own) > 1 else None
        result = printed.get(("average", name))
        reference = result.value if result else None
        comparable = all(part.difference is not None for part in own)
        difference = mean - reference if comparable and mean is not None and reference is not None else None
        if len(own) > 1:
            parts.append(Stat(mean, reference=reference, difference=difference))
    return Cell(tuple(parts))


def _mean_ranks(rows: Sequence[Row], columns: Sequence[Column]) -> dict[str, float]:
    """Of a model's rows that have every task that any row has, by the first metrics; none for a single task or row."""

    def value(row: Row, column: Column) -> float | None:
        parts = row.cell(column).parts
        return parts[0].value if parts else None

    used = [column for column in columns if any(value(row, column) is not None for row in rows)]
    values = {row.title: [value(row, column) for column in used] for row in rows}
    complete = {title: own for title, own in values.items() if None not in own}
    return mean_ranks(complete) if len(used) > 1 and len(complete) > 1 else {}


def _rank_cell(rank: float | None) -> Cell:
    return Cell((Stat(rank),))


def _summaries(rows: Sequence[Row], columns: Sequence[Column]) -> list[Column]:
    """The columns of averages and mean ranks, where any row has one."""

    def is_used(column: Column) -> bool:
        parts = [part for row in rows for part in row.cell(column).parts]
        return any(part.value is not None or part.reference is not None for part in parts)

    has_second = sum(len(column.parts) > 1 for column in columns) > 1
    average = replace(_AVERAGE, parts=_AVERAGE.parts if has_second else ("",))
    return [column for column in (average, _MEAN_RANK) if is_used(column)]


def _of_the_paper(group: Group, rows: Sequence[Row]) -> list[str]:
    """How the paper's numbers in a table relate to ours."""
    if not any(row.reference_title for row in rows):
        return []
    notes = []
    model = group.model and STAND_INS.get(group.family)
    if model:
        notes.append(
            f"{group.model} is not a model of the paper; {model}'s numbers stand beside it, without differences"
        )
    if group.protocol == "published":
        notes.append(
            "in this protocol prompts hold (part of) the right answer; results say little of what a model can do"
        )
    if group.protocol == "strict":
        notes.append(
            "the paper's numbers are of a protocol whose prompts hold (part of) the right answer, so they stand here "
            "without differences; see `rocoft evaluate RUN --protocol published`"
        )
    if group.data_kind != "hub" or not group.has_all_rows:
        shown = "" if group.has_all_rows else ", so they stand here without differences"
        notes.append(f"the paper's numbers are of the whole benchmarks, ours of the rows named above{shown}")
    if group.family == "glue":
        notes.append("the paper's #TTPs leave the head out for RoCoFT and count it for most baselines")
    if group.layout and group.layout.number == "7":
        notes.append(
            f"Table 7 does not print RoCoFT's rank; its rows stand beside rank {paper.TABLE_7_RANK}, which the text on "
            "it names"
        )
    return notes


def _wrong_settings(runs: Sequence[Run]) -> Table:
    columns = [Column("task", "task"), Column("seed", "seed"), Column("why", "why")]
    table = Table("wrong-settings", "not run: wrong settings", columns)
    for run in runs:
        record = run.record
        texts = {
            "task": f"{record.task['family']} {record.task['name']}",
            "seed": str(record.seed),
            "why": record.error,
        }
        cells = {key: Cell(text=text or "", runs=(run.id,)) for key, text in texts.items()}
        table.rows.append(Row(model_name(run.record.model), record.label, cells))
    return table
