"""What a reader has to know of the runs in a table: the conditions that hold for all of it, and their own notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rocoft_bench.analysis.groups import UNKNOWN, listed, machines, model_text, said, seeds
from rocoft_bench.analysis.records import Run
from rocoft_bench.runs import RunRecord

SOURCES = {
    "hub": "the hub",
    "github": "GitHub",
    "data_dir": "local files",
    "embedded": "generated, embedded in the package",
}

LOSSES = {"sequence": "on the whole sequence, prompt included", "response": "on the response only"}

UNPARSED = "unparsed"
"""The share of answers that could not be read, which count as wrong: no metric to compare by, but to be told."""

CHECKPOINTS = {"last": "last epoch", "best": "best epoch, chosen on the rows that it is evaluated on"}


def data_kind(record: RunRecord) -> str:
    """Where the rows are from, or for a run that failed before it had any would have been: "embedded", "data_dir", or
    "hub" for the task's own place on the net, on the hub or on GitHub.
    """
    if record.data:
        kind: str = record.data["evaluation"]["kind"]
        return "hub" if kind == "github" else kind
    if record.task["family"] == "demo":
        return "embedded"
    return "data_dir" if record.task.get("settings", {}).get("data_dir") else "hub"


def conditions(runs: Sequence[Run]) -> dict[str, str]:
    """What to state above a table of these runs, which agree in data kind, loss, protocol and checkpoint rule."""
    records = [run.record for run in runs]
    first = records[0]
    loss = first.task.get("settings", {}).get("loss_on")
    return {
        "Model": model_text(record.model for record in records),
        "Data": _data(records),
        "Metric": f"{_by_task(records, _metrics)}; in percent",
        "Protocol": _by_task(records, lambda record: record.protocol),
        "Loss": LOSSES.get(loss, "on the labels") if loss else "on the labels",
        "Checkpoint": CHECKPOINTS.get(first.keep, first.keep),
        "Head": _head(records),
        "Seeds": seeds(runs),
        "Hardware": machines(runs),
    }


def _data(records: Sequence[RunRecord]) -> str:
    kinds = [record.data["evaluation"]["kind"] for record in records if record.data]
    if not kinds:
        return "no run got as far as its rows"
    return f"{listed(SOURCES.get(kind, kind) for kind in kinds)}: {_by_task(records, _rows)}"


def _rows(record: RunRecord) -> str:
    source = record.data.get("evaluation", {})
    if not record.data:
        return ""
    from_hub = source.get("id") and data_kind(record) == "hub"
    where = f"{source['id']} @ {str(source.get('revision'))[:10]}, " if from_hub else ""
    trained, judged = record.data["train_rows"], record.data["eval_rows"]
    return f"{where}{trained:,} rows to train on, {judged:,} of {record.task['eval_split']}"


def _metrics(record: RunRecord) -> str:
    return ", ".join(name.replace("_", " ") for name in record.task["metric_names"] if name != UNPARSED)


def _head(records: Iterable[RunRecord]) -> str:
    heads = {record.parameters["head"] for record in records if record.parameters}
    if not any(heads):
        return "the models have no task head"
    return "trained in full by every method, counted in a column of its own"


def _by_task(records: Iterable[RunRecord], fact: Callable[[RunRecord], str]) -> str:
    """What is said of each task; only once, and without names, if the same is said of all."""
    pairs = dict.fromkeys((record.task["name"], text) for record in records if (text := fact(record)))
    texts = {text for _, text in pairs}
    return texts.pop() if len(texts) == 1 else "; ".join(said(pairs))


def cost_note(runs: Iterable[Run]) -> str:
    """What the columns of time and memory hold."""
    kinds = listed(kind for run in runs if (kind := run.record.peak_memory_kind))
    return f"train s: mean over the runs of a row, of whatever tasks; MiB: their highest peak ({kinds or UNKNOWN})"


def unparsed_notes(runs: Iterable[Run]) -> list[str]:
    """Where answers could not be read, and how many of them: they count as wrong."""
    shares: dict[tuple[str, str], list[float]] = {}
    for record in (run.record for run in runs):
        if share := (record.metrics or {}).get(UNPARSED):
            shares.setdefault((record.label, record.task["name"]), []).append(100 * share)
    return [f"{label}, {task}: up to {max(own):.1f} % of answers unreadable" for (label, task), own in shares.items()]


def run_notes(runs: Iterable[Run]) -> list[str]:
    """What the runs say of themselves; what all of several methods say of a task stands there once, without names."""
    labels: dict[str, set[str]] = {}
    notes: dict[tuple[str, str], set[str]] = {}
    for record in (run.record for run in runs):
        task = record.task["name"]
        labels.setdefault(task, set()).add(record.label)
        for note in record.notes:
            notes.setdefault((task, note), set()).add(record.label)

    def of_whom(task: str, by: set[str]) -> str:
        return task if len(by) > 1 and by == labels[task] else f"{', '.join(sorted(by))}, {task}"

    return sorted(f"{of_whom(task, by)}: {note}" for (task, note), by in notes.items())
