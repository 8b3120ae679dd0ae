"""Result tables: one per task family and model, a row per method, and the paper's row beside it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from rocoft_bench import paper
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
class Row:
    """`cells` as text, one per column of the table."""

    cells: list[str]
    from_paper: bool = False


@dataclass
class Table:
    title: str
    columns: list[str]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def build_tables(records: Iterable[RunRecord]) -> list[Table]:
    """A table for each family, model and kind of data; runs that differ in any of these never meet. Combinations of a
    sweep that could not be run, because their settings are wrong, have a table of their own.
    """
    records = list(records)
    wrong = [record for record in records if not record.task["metric_names"]]
    ordered = sorted((record for record in records if record.task["metric_names"]), key=_table_key)
    tables = [_table(key, list(group)) for key, group in groupby(ordered, key=_table_key)]
    return [*tables, _wrong_settings(wrong)] if wrong else tables


def _wrong_settings(records: list[RunRecord]) -> Table:
    table = Table("not run: wrong settings", ["method", "task", "model", "seed", "why"])
    for record in records:
        task = f"{record.task['family']} {record.task['name']}"
        table.rows.append(Row([record.label, task, record.model["name"], str(record.seed), record.error or ""]))
    return table


def _table_key(record: RunRecord) -> tuple[str, str, str, str, str]:
    model = record.model.get("paper_name") or record.model["name"].rstrip("/").rpartition("/")[2]
    leaking = "published" if record.task.get("settings", {}).get("protocol") == "published" else ""
    return record.task["family"], model, _data_kind(record), record.keep, leaking


def _data_kind(record: RunRecord) -> str:
    """Where the rows are from; for a run that failed before it had any, where they would have been."""
    if record.data:
        return record.data["evaluation"]["kind"]
    if record.task["family"] == "demo":
        return "embedded"
    return "data_dir" if record.task.get("settings", {}).get("data_dir") else "hub"


def _table(key: tuple[str, str, str, str, str], records: list[RunRecord]) -> Table:
    family, model, data_kind, keep, leaking = key
    tasks = _task_metrics(records)
    columns = [
        "method",
        "adapter",
        "head",
        *(f"{task} {METRIC_NAMES.get(m, m)}" for task, m in tasks),
        "train s",
        "MiB",
    ]
    table = Table(f"{family}, {model}" + (f", {leaking} protocol" if leaking else ""), columns)
    for label, group in groupby(sorted(records, key=lambda r: r.label), key=lambda r: r.label):
        table.rows += [Row(cells) for cells in _method_rows(label, list(group), tasks)]
        table.rows += _paper_rows(_paper_model(family, model), model, label, _paper_names(records), tasks)
    table.notes = _notes(records, data_kind, keep, family, model)
    return table


def _task_metrics(records: list[RunRecord]) -> list[tuple[str, str]]:
    """(task, metric) of each column, tasks in the order of the registry."""
    from rocoft_bench import tasks

    order = {(task.family, task.name): index for index, task in enumerate(tasks.all_tasks())}
    found = {(r.task["family"], r.task["name"]): r.task["metric_names"] for r in records}
    names = sorted(found, key=lambda name: order.get(name, len(order)))
    return [(name[1], metric) for name in names for metric in found[name]]


def _method_rows(label: str, records: list[RunRecord], tasks: list[tuple[str, str]]) -> list[list[str]]:
    """One row for the method; further rows where a task was run with several settings, which never share a cell."""
    by_task: dict[str, list[list[RunRecord]]] = {}
    for record in records:
        variants = by_task.setdefault(record.task["name"], [])
        same = next((runs for runs in variants if runs[0].settings_hash == record.settings_hash), None)
        variants.append([record]) if same is None else same.append(record)
    rows = []
    for index in range(max(len(variants) for variants in by_task.values())):
        runs = {name: variants[index] for name, variants in by_task.items() if index < len(variants)}
        title = label if index == 0 else f"{label} ({index + 1}, other settings)"
        rows.append(_cells(title, runs, tasks))
    return rows


def _cells(title: str, runs: dict[str, list[RunRecord]], tasks: list[tuple[str, str]]) -> list[str]:
    flat = [record for group in runs.values() for record in group]
    values = [_value_cell(runs.get(task, []), metric) for task, metric in tasks]
    finished = [record for record in flat if record.status == "ok"]
    seconds = [record.train_seconds for record in finished if record.train_seconds is not None]
    memory = [record.peak_memory_mib for record in finished if record.peak_memory_mib is not None]
    return [
        title,
        _distinct(f"{record.parameters['adapter']:,}" for record in flat if record.parameters),
        _distinct(f"{record.parameters['head']:,}" for record in flat if record.parameters),
        *values,
        f"{statistics.mean(seconds):.0f}" if seconds else "",
        f"{max(memory):.0f}" if memory else "",
    ]


def _distinct(values: Iterable[str]) -> str:
    unique = sorted(set(values), key=lambda text: (len(text), text)) or [""]
    return unique[0] if len(unique) == 1 else f"{unique[0]} … {unique[-1]}"


def _value_cell(records: list[RunRecord], metric: str) -> str:
    """Mean ± standard deviation over seeds in percent; runs without a result show as what they are."""
    values = [100 * record.metrics[metric] for record in records if record.metrics]
    failed = [record.status for record in records if record.status != "ok"]
    text = f"{statistics.mean(values):.2f}" if values else ""
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.2f} (n={len(values)})"
    return " ".join([text, *(f"[{status}]" for status in failed)]).strip()


def _paper_model(family: str, model: str) -> str:
    """The model of the paper whose rows stand beside a model's results: the same, or RoBERTa-base for GLUE."""
    known = {result.model for result in paper.results()}
    return "roberta-base" if family == "glue" and model not in known else model


def _paper_names(records: list[RunRecord]) -> dict[str, str]:
    """The paper's name of each task."""
    return {record.task["name"]: record.task.get("paper_task") or record.task["name"] for record in records}


def _paper_rows(
    paper_model: str, model: str, label: str, paper_names: dict[str, str], tasks: list[tuple[str, str]]
) -> list[Row]:
    """The paper's row for a method, marked where it is of another model."""
    cells = {
        (result.task, result.metric): result
        for result in paper.results()
        if (result.model, result.method) == (paper_model, label)
    }
    found = [cells.get((paper_names[task], metric)) for task, metric in tasks]
    some: Any = next((cell for cell in found if cell is not None), None)
    if some is None:
        return []
    title = f"  paper, Table {some.table}" + ("" if paper_model == model else f" ({paper_model})")
    values = ["" if cell is None else f"{cell.value:.2f}" for cell in found]
    return [Row([title, f"{some.trainable_millions}M", "", *values, "", ""], from_paper=True)]


def _notes(records: list[RunRecord], data_kind: str, keep: str, family: str, model: str) -> list[str]:
    sources = {"hub": "the hub", "data_dir": "local files", "embedded": "generated, embedded in the package"}
    splits = _distinct(f"{record.task['name']} {record.task['eval_split']}" for record in records)
    seeds = sorted({record.seed for record in records})
    notes = [
        f"data: {sources.get(data_kind, data_kind)}; evaluated on {splits}; {keep} epoch; seeds {seeds}; "
        "metrics in percent; adapter and head are trained parameters; train s excludes evaluation",
    ]
    notes += [f"protocol: {protocol}" for protocol in sorted({record.protocol for record in records})]
    if family == "glue":
        notes.append("the paper's #TTPs leave the head out for RoCoFT and count it for most baselines")
        if _paper_model(family, model) != model:
            notes.append(f"{model} is not a model of the paper; its rows are RoBERTa-base's")
    return notes + _run_notes(records)


def _run_notes(records: list[RunRecord]) -> list[str]:
    """What the runs say of themselves; what all of several methods say of a task stands there once, without names."""
    labels: dict[str, set[str]] = {}
    said: dict[tuple[str, str], set[str]] = {}
    for record in records:
        task = record.task["name"]
        labels.setdefault(task, set()).add(record.label)
        for note in record.notes:
            said.setdefault((task, note), set()).add(record.label)

    def of_whom(task: str, by: set[str]) -> str:
        return task if len(by) > 1 and by == labels[task] else f"{', '.join(sorted(by))}, {task}"

    return sorted(f"{of_whom(task, by)}: {note}" for (task, note), by in said.items())
