"""Tables of training runs, laid out as the paper's where they belong there: a row per method, a column per task."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rocoft_bench import paper, tasks
from rocoft_bench.analysis.conditions import cost_note, repeats, run_conditions, run_notes
from rocoft_bench.analysis.groups import Record, by_examples, records_of
from rocoft_bench.analysis.long_table import UNPARSED
from rocoft_bench.analysis.naming import slug
from rocoft_bench.analysis.pivot import (
    RUN_COSTS,
    Reference,
    References,
    RowKey,
    pivot,
    placed,
    without_unfinished_costs,
)
from rocoft_bench.analysis.ranking import summarized, summary_columns
from rocoft_bench.analysis.references import STAND_INS, PaperTable, paper_table_of, references
from rocoft_bench.analysis.table import Cell, Column, Row, Stat, Table, with_unique_keys
from rocoft_bench.analysis.variants import variants_by_task
from rocoft_bench.report.tables.ranks import TASK as TASK_8
from rocoft_bench.report.tables.ranks import is_table_8
from rocoft_bench.runs import RunRecord

if TYPE_CHECKING:
    import pandas as pd

METRIC_NAMES = {
    "matthews_correlation": "mcc",
    "macro_f1": "macro F1",
    "accuracy": "acc",
    "f1": "F1",
    "pearson": "r",
    "spearman": "rho",
    "exact_match": "EM",
    "rouge1": "R1",
    "rouge2": "R2",
    "rougeL": "RL",
}

RANK_RUNS = "runs of single ranks on query, key and value, with which no other task was trained, stand in Table 8 alone"

PARAMETERS = [Column("adapter", "adapter", ("",), decimals=0), Column("head", "head", ("",), decimals=0)]
COSTS = [Column("train_seconds", "train s", ("",), decimals=0), Column("peak_memory_mib", "MiB", ("",), decimals=0)]


@dataclass(frozen=True)
class RunTable:
    """What runs have to agree in to stand in one table. model: None where the paper's table has a place for each.

    examples: what sets the table apart from those that agree in all of this but not in the examples of a task.
    """

    paper: PaperTable | None
    family: str
    model: str | None
    data_kind: str
    checkpoint: str
    prompts: str
    loss_on: str
    all_examples: bool
    examples: str = ""

    @property
    def key(self) -> str:
        texts = [self.paper.key if self.paper else f"{self.family}-{self.model}", *self._differences]
        return slug("-".join(text.replace(",", "") for text in texts))

    @property
    def title(self) -> str:
        return ", ".join([self.paper.title if self.paper else f"{self.family}, {self.model}", *self._differences])

    @property
    def order(self) -> tuple[int, str, bool]:
        return (int(self.paper.number) if self.paper else 99, self.title, not self.all_examples)

    @property
    def _differences(self) -> list[str]:
        """In what it is not as the paper's tables are taken to be."""
        usual = {"", "hub", "last", "strict", "sequence", "embedded", "file"}
        names = {"data_dir": "local data", "best": "best epoch", "published": "published protocol"}
        names |= {"likelihood": "likelihood of choices", "response": "loss on the response"}
        found = (self.data_kind, self.checkpoint, self.prompts, self.loss_on)
        return [*(names.get(value, value) for value in found if value not in usual), *filter(None, [self.examples])]

    @property
    def is_comparable(self) -> bool:
        """Whether differences to the paper's numbers mean anything."""
        return self.paper is not None and self.prompts != "strict" and self.all_examples

    def paper_model(self, model: str) -> str:
        """The model of the paper whose numbers stand beside a model's."""
        return model if self.paper and model in self.paper.models else STAND_INS.get(self.family, "")

    def reference_title(self, model: str) -> str:
        return "paper" if self.paper_model(model) == model else f"paper ({self.paper_model(model)})"


def run_tables(table: pd.DataFrame) -> list[Table]:
    """A table for each one of the paper, or else family and model; runs that differ in data, protocol, loss or
    checkpoint rule never meet, nor do those of a task that have other examples of it. Combinations of a sweep that
    could not be run, because their settings are wrong, have a table of their own. Those that Table 8 alone has a place
    for are left to it, and counted in a note.
    """
    values = table[table.source == "run"]
    known = records_of(values)
    wrong = [run for run in known if not run.metric_names]
    fitting = [run for run in known if run.metric_names]
    elsewhere = _of_table_8_alone(fitting)
    tables = []
    for spec, runs in _groups(fitting):
        if own := [run for run in runs if run.id not in elsewhere]:
            made = _table(spec, own, values)
            made.notes += [f"{TASK_8}: {left} {RANK_RUNS}"] if (left := len(runs) - len(own)) else []
            tables.append(made)
    return with_unique_keys([*tables, *([_wrong_settings(wrong)] if wrong else [])])


def selection_tables(table: pd.DataFrame) -> list[Table]:
    """Figure 4: RoCoFT of rank 4 by the way its rows or columns were chosen, wherever more than one way was tried."""
    t = table
    chosen = (t.method == "rocoft") & t["mode"].isin(["row", "column"]) & (t["rank"] == 4) & t.target_modules.isna()
    values = t[(t.source == "run") & (t.family == "glue") & chosen]
    groups = _groups(records_of(values), lambda run: replace(_table_of(run), paper=None, model=run.model))
    tables = [_table(spec, runs, values) for spec, runs in groups]
    for made in tables:
        made.key, made.number = f"figure4-{made.key}", "Figure 4"
        made.title = f"selection of rows and columns, {made.title}"
    return [made for made in tables if len({row.variant for row in made.rows}) > 1]


def _table_of(run: Record) -> RunTable:
    found = paper_table_of(run)
    family, model = (found.families[0], None) if found else (run.family, run.model)
    return RunTable(
        found, family, model, run.data_kind, run.checkpoint, run.prompts, run.loss_on or "", run.all_examples
    )


def _groups(
    runs: Iterable[Record], spec_of: Callable[[Record], RunTable] = _table_of
) -> list[tuple[RunTable, list[Record]]]:
    """The runs of each table, in the order of the tables."""
    groups: dict[RunTable, list[Record]] = {}
    for run in runs:
        groups.setdefault(spec_of(run), []).append(run)
    ordered = sorted(groups, key=lambda spec: spec.order)
    parts = [(spec, part) for spec in ordered for part in by_examples(groups[spec])]
    return [(replace(spec, examples=part.difference), part.runs) for spec, part in parts]


def _of_table_8_alone(runs: Iterable[Record]) -> set[str]:
    """The ids of runs whose method, of one rank on query, key and value, no other task was trained with. With other
    tasks they are part of a row, and stand in both tables.
    """

    def trained(run: Record) -> tuple[str, str]:
        return run.model, json.dumps(json.loads(run.settings)["method"], sort_keys=True)

    of_rows = {trained(run) for run in runs if not is_table_8(run)}
    return {run.id for run in runs if is_table_8(run) and trained(run) not in of_rows}


def _table(spec: RunTable, runs: Sequence[Record], values: pd.DataFrame) -> Table:
    metrics = _metrics(spec, runs)
    columns = [
        Column(task, task, tuple(METRIC_NAMES.get(name, name) for name in names), task=task, better="higher")
        for task, names in metrics.items()
    ]
    records = _rows_of(spec, runs)
    places = [(run, key) for key, own in records.items() for run in own]
    rows = pivot(
        _in_columns(placed(values, places), metrics),
        records,
        [*PARAMETERS, *columns, *COSTS],
        _references(spec, metrics),
        RUN_COSTS,
        spec.reference_title,
    )
    models = dict.fromkeys(key.model for key in records)
    found = [row for model in models for row in summarized([row for row in rows if row.model == model], columns)]
    shown = [*PARAMETERS, *columns, *summary_columns(found, columns), *COSTS]
    table = Table(spec.key, spec.title, shown, found, spec.paper.number if spec.paper else None, run_conditions(runs))
    if said := _of_the_paper(spec, found):
        table.conditions["Paper"] = "; ".join(said)
    left_out = repeats(len(runs) - len(places), "runs")
    table.notes = [*left_out, *_unparsed(runs, values), cost_note(runs), *run_notes(runs)]
    return table


def _metrics(spec: RunTable, runs: Iterable[Record]) -> dict[str, list[str]]:
    """What results are compared by on each task that the paper's table has or that was run, in the registry's order."""
    found: dict[str, list[str]] = {}
    for run in runs:
        known = found.setdefault(run.task, [])
        known += [name for name in run.metric_names if name not in (UNPARSED, *known)]
    of_paper = {result.task for result in spec.paper.results} if spec.paper else set()
    for task in tasks.all_tasks():
        if spec.paper and task.family in spec.paper.families and task.paper_task in of_paper:
            found.setdefault(task.name, [name for name in task.metric_names if name != UNPARSED])
    own = {run.family for run in runs} | set(spec.paper.families if spec.paper else ())
    order = {task.name: number for number, task in enumerate(tasks.all_tasks()) if task.family in own}
    return {task: found[task] for task in sorted(found, key=lambda task: order.get(task, len(order)))}


def _rows_of(spec: RunTable, runs: Iterable[Record]) -> dict[RowKey, list[Record]]:
    """A row for each method of the paper and of the runs, with those of its runs that do not repeat another one."""
    of_paper = {model: spec.paper.methods(model) for model in spec.paper.models} if spec.paper else {}
    by_method: dict[RowKey, dict[str, list[Record]]] = {
        RowKey(model, method): {} for model, methods in of_paper.items() for method in methods
    }
    for run in sorted(runs, key=lambda run: run.label):
        by_method.setdefault(RowKey(run.model, run.label), {}).setdefault(run.task, []).append(run)
    rows = {}
    for key, by_task in by_method.items():
        variants = variants_by_task(by_task).values()
        for name in sorted({name for own in variants for name in own}) or [""]:
            rows[key._replace(variant=name)] = [run for own in variants for run in own.get(name, ())]
    return rows


def _in_columns(values: pd.DataFrame, metrics: Mapping[str, list[str]]) -> pd.DataFrame:
    """Scores in the columns of their tasks, in the order of the metrics; costs in columns of their own."""
    cells = {(task, name): (task, place) for task, names in metrics.items() for place, name in enumerate(names)}
    cells |= {(task, name): (name, 0) for task in metrics for name in RUN_COSTS}
    pairs = list(zip(values.task, values.metric, strict=True))
    own = values.assign(value=without_unfinished_costs(values))[[pair in cells for pair in pairs]]
    known = [cells[pair] for pair in pairs if pair in cells]
    return own.assign(column=[column for column, _ in known], place=[place for _, place in known])


def _references(spec: RunTable, metrics: Mapping[str, list[str]]) -> References:
    """The paper's scores, and its count of parameters as it is printed."""
    paper_tasks = {task.name: task.paper_task for task in tasks.all_tasks() if task.paper_task}

    def reference(key: RowKey, column: Column, place: int) -> Reference | None:
        printed = references(spec.paper_model(key.model), key.method)
        if column.key == "adapter" and printed:
            return Reference(text=f"{next(iter(printed.values())).trainable_millions}M")
        result = printed.get((paper_tasks.get(column.key) or "", metrics.get(column.key, [""] * 2)[place]))
        return Reference(result.value, compare=spec.is_comparable) if result else None

    return reference


def _unparsed(runs: Iterable[Record], values: pd.DataFrame) -> list[str]:
    """Where answers could not be read, and how many of them: they count as wrong."""
    own = values[values.id.isin([run.id for run in runs]) & (values.metric == UNPARSED) & (values.value > 0)]
    largest = own.groupby(["label", "task"], sort=False).value.max()
    return [f"{label}, {task}: up to {share:.1f} % of answers unreadable" for (label, task), share in largest.items()]


def _of_the_paper(spec: RunTable, rows: Sequence[Row]) -> list[str]:
    """How the paper's numbers in a table relate to ours."""
    if not any(row.reference_title for row in rows):
        return []
    other = STAND_INS.get(spec.family)
    without_differences = "" if spec.all_examples else ", so they stand here without differences"
    notes = {
        f"{spec.model} is not a model of the paper; {other}'s numbers stand beside it, without differences": (
            bool(spec.model and other)
        ),
        "in this protocol prompts hold (part of) the right answer; results say little of what a model can do": (
            spec.prompts == "published"
        ),
        "the paper's numbers are of a protocol whose prompts hold (part of) the right answer, so they stand here "
        "without differences; see `rocoft evaluate RUN --protocol published`": spec.prompts == "strict",
        "the paper's numbers are of the whole benchmarks, ours of the examples named above" + without_differences: (
            spec.data_kind != "hub" or not spec.all_examples
        ),
        "the paper's #TTPs leave the head out for RoCoFT and count it for most baselines": spec.family == "glue",
        f"Table 7 does not print RoCoFT's rank; its rows stand beside rank {paper.TABLE_7_RANK}, which the text on it "
        "names": spec.paper is not None and spec.paper.number == "7",
    }
    return [note for note, applies in notes.items() if applies]


def _wrong_settings(runs: Sequence[Record]) -> Table:
    table = Table("wrong-settings", "not run: wrong settings", [Column(name, name) for name in ("task", "seed", "why")])
    for run in runs:
        texts = {"task": f"{run.family} {run.task}", "seed": str(run.seed), "why": run.error or ""}
        cells = {key: Cell(text=text, runs=(run.id,)) for key, text in texts.items()}
        table.rows.append(Row(run.model, run.label, cells))
    return table


def before_and_after(records: Iterable[RunRecord]) -> Table:
    """What training added, for runs that were evaluated before their first step: a row a run, its main metric in
    percent, beside random answers.
    """
    table = Table("before-and-after", "before and after training", [])
    notes = set()
    for record in records:
        task, metric = record.task, record.task["metric_names"][0]
        before, after = (
            100 * scores[metric] if scores else None for scores in (record.initial_metrics, record.metrics)
        )
        values: dict[Column, Any] = {
            Column("task", "task"): f"{task['family']} {task['name']}",
            Column("adapter", "adapter", ("",), decimals=0): record.parameters["adapter"],
            Column("head", "head", ("",), decimals=0): record.parameters["head"],
            Column("metric", "metric"): METRIC_NAMES.get(metric, metric),
            Column("before", "before", ("",)): before,
            Column("after", "after", ("",)): after,
            Column("random_baseline", "random", ("",), decimals=1): 100 * task["random_baseline"],
            Column("train_seconds", "train s", ("",), decimals=0): record.train_seconds,
            Column("eval_seconds", "eval s", ("",), decimals=0): record.eval_seconds,
        }
        table.columns = list(values)
        cells = {own.key: Cell((Stat(value),)) if own.parts else Cell(text=value) for own, value in values.items()}
        table.rows.append(Row(record.model["name"], record.label, cells))
        table.notes.append(f"{task['name']}: {record.protocol}; {record.data['eval_rows']} rows")
        notes |= {f"{task['name']}: {note}" for note in record.notes}
    table.notes += sorted(notes)
    return table
