"""What a reader has to know of the runs in a table: the conditions that hold for all of it, and their own notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rocoft_bench.report.records import Run
from rocoft_bench.runs import RunRecord

SOURCES = {"hub": "the hub", "data_dir": "local files", "embedded": "generated, embedded in the package"}

LOSSES = {"sequence": "on the whole sequence, prompt included", "response": "on the response only"}

UNPARSED = "unparsed"
"""The share of answers that could not be read, which count as wrong: no metric to compare by, but to be told."""

CHECKPOINTS = {"last": "last epoch", "best": "best epoch, chosen on the rows that it is evaluated on"}


def data_kind(record: RunRecord) -> str:
    """Where the rows are from; for a run that failed before it had any, where they would have been."""
    if record.data:
        return record.data["evaluation"]["kind"]
    if record.task["family"] == "demo":
        return "embedded"
    return "data_dir" if record.task.get("settings", {}).get("data_dir") else "hub"


def conditions(runs: Sequence[Run]) -> dict[str, str]:
    """What to state above a table of these runs, which agree in data kind, loss, protocol and checkpoint rule."""
    records = [run.record for run in runs]
    first = records[0]
    loss = first.task.get("settings", {}).get("loss_on")
    return {
        "Model": _listed(_model(record) for record in records),
        "Data": f"{SOURCES.get(data_kind(first), data_kind(first))}: {_by_task(records, _rows)}",
        "Metric": f"{_by_task(records, _metrics)}; in percent",
        "Protocol": _by_task(records, lambda record: record.protocol),
        "Loss": LOSSES.get(loss, "on the labels") if loss else "on the labels",
        "Checkpoint": CHECKPOINTS.get(first.keep, first.keep),
        "Head": _head(records),
        "Seeds": ", ".join(map(str, sorted({record.seed for record in records}))),
        "Hardware": "; ".join(dict.fromkeys(hardware(run.provenance) for run in runs)),
    }


def hardware(provenance: dict[str, Any] | None) -> str:
    """The machine that a run was made on, in short."""
    facts = (provenance or {}).get("hardware")
    if not isinstance(facts, dict):
        return "not recorded"
    gpus = [str(name) for name in facts.get("gpus") or ()]
    if gpus:
        return _listed(f"{gpus.count(name)} × {name}" for name in gpus)
    return f"{facts.get('cpu_count')} CPU cores ({facts.get('cpu')}), threads a run: {facts.get('torch_threads')}"


def _model(record: RunRecord) -> str:
    name, id = record.model["name"], record.model.get("id")
    revision = str(record.model.get("revision") or "")[:10]
    named = f"{record.model.get('paper_name') or name}" + (f" ({id})" if id and id != name else "")
    return f"{named} @ {revision}" if revision else named


def _rows(record: RunRecord) -> str:
    source = record.data.get("evaluation", {})
    if not record.data:
        return ""
    where = (
        f"{source['id']} @ {str(source.get('revision'))[:10]}, "
        if source.get("id") and data_kind(record) == "hub"
        else ""
    )
    rows = (
        f"{record.data['train_rows']:,} rows to train on, {record.data['eval_rows']:,} of {record.task['eval_split']}"
    )
    return where + rows


def _metrics(record: RunRecord) -> str:
    return ", ".join(name.replace("_", " ") for name in record.task["metric_names"] if name != UNPARSED)


def _head(records: Iterable[RunRecord]) -> str:
    heads = {record.parameters["head"] for record in records if record.parameters}
    if not any(heads):
        return "the models have no task head"
    return "trained in full by every method, counted in a column of its own"


def _by_task(records: Iterable[RunRecord], fact: Callable[[RunRecord], str]) -> str:
    """What is said of each task; tasks of which the same is said stand together."""
    tasks: dict[str, dict[str, None]] = {}
    for record in records:
        if said := fact(record):
            tasks.setdefault(said, {})[record.task["name"]] = None
    if len(tasks) == 1:
        return next(iter(tasks))
    return "; ".join(f"{', '.join(names)}: {said}" for said, names in tasks.items())


def unparsed_notes(runs: Iterable[Run]) -> list[str]:
    """Where answers could not be read, and how many of them: they count as wrong."""
    shares: dict[tuple[str, str], list[float]] = {}
    for record in (run.record for run in runs):
        if share := (record.metrics or {}).get(UNPARSED):
            shares.setdefault((record.label, record.task["name"]), []).append(100 * share)
    return [f"{label}, {task}: up to {max(own):.1f} % of answers unreadable" for (label, task), own in shares.items()]


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))


def run_notes(runs: Iterable[Run]) -> list[str]:
    """What the runs say of themselves; what all of several methods say of a task stands there once, without names."""
    labels: dict[str, set[str]] = {}
    said: dict[tuple[str, str], set[str]] = {}
    for record in (run.record for run in runs):
        task = record.task["name"]
        labels.setdefault(task, set()).add(record.label)
        for note in record.notes:
            said.setdefault((task, note), set()).add(record.label)

    def of_whom(task: str, by: set[str]) -> str:
        return task if len(by) > 1 and by == labels[task] else f"{', '.join(sorted(by))}, {task}"

    return sorted(f"{of_whom(task, by)}: {note}" for (task, note), by in said.items())
