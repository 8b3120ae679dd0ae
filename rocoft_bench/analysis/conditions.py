"""What a reader has to know of the records in a table: the conditions that hold for all of it, and their own notes."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from rocoft_bench.analysis.groups import Record, grouped
from rocoft_bench.analysis.long_table import SOURCES, UNPARSED
from rocoft_bench.analysis.naming import PAPER_MODEL, UNKNOWN, by_names, join_unique, merge_notes

LOSSES = {"sequence": "on the whole sequence, prompt included", "response": "on the response only"}

CHECKPOINTS = {"last": "last epoch", "best": "best epoch, chosen on the examples that it is evaluated on"}


def origins(records: Sequence[Record], between: Mapping[str, str] = {}) -> dict[str, str]:
    """The conditions that records of every kind have: which model, which seeds, which machine; between: the others."""
    return {
        "Model": join_unique(record.model_text for record in records),
        **between,
        "Seeds": seeds(records),
        "Hardware": join_unique((record.hardware for record in records), "; "),
    }


def seeds(records: Iterable[Record]) -> str:
    return ", ".join(map(str, sorted({record.seed for record in records})))


def run_conditions(runs: Sequence[Record]) -> dict[str, str]:
    """What to state above a table of these runs, which agree in data kind, loss, protocol and checkpoint rule."""
    first = runs[0]
    template = by_task(runs, lambda run: run.template_version or "")
    sources = join_unique(SOURCES.get(run.data_source, run.data_source) for run in runs)
    conditions = {
        "Data": f"{sources}: {by_task(runs, lambda run: run.data)}" if sources else "no run got as far as its examples",
        "Metric": f"{by_task(runs, _metrics)}; in percent",
        "Protocol": by_task(runs, lambda run: run.protocol),
        **({"Template": template} if template else {}),
        "Loss": LOSSES.get(first.loss_on, "on the labels"),
        "Checkpoint": CHECKPOINTS.get(first.checkpoint, first.checkpoint),
        "Head": "trained in full by every method, counted in a column of its own"
        if any(run.has_head for run in runs)
        else "the models have no task head",
    }
    return origins(runs, conditions)


def _metrics(run: Record) -> str:
    return ", ".join(name.replace("_", " ") for name in run.metric_names if name != UNPARSED)


def by_task(records: Iterable[Record], text: Callable[[Record], str]) -> str:
    """What is said of each task; only once, and without names, if the same is said of all."""
    pairs = dict.fromkeys((record.task, said) for record in records if (said := text(record)))
    texts = {said for _, said in pairs}
    return texts.pop() if len(texts) == 1 else "; ".join(by_names(pairs))


def notes_by(records: Iterable[Record], name: Callable[[Record], str]) -> list[str]:
    """What the records say of themselves, each note with the names of those that have it."""
    return sorted(merge_notes(sorted((name(record), note) for record in records for note in record.notes)))


def run_notes(runs: Sequence[Record]) -> list[str]:
    """What the runs say of themselves; what all of several methods say of a task stands there once, without names, and
    a method is not named again in its own words.
    """
    labels = grouped((run.task, run.label) for run in runs)
    notes = grouped(((run.task, note.removeprefix(f"{run.method} ")), run.label) for run in runs for note in run.notes)

    def of_whom(task: str, by: set[str]) -> str:
        return task if len(by) > 1 and by == set(labels[task]) else f"{', '.join(sorted(by))} on {task}"

    return sorted(merge_notes(sorted((of_whom(task, set(by)), note) for (task, note), by in notes.items())))


def cost_note(runs: Iterable[Record]) -> str:
    """What the columns of time and memory hold."""
    kinds = join_unique(run.peak_memory_kind for run in runs) or UNKNOWN
    return f"train s: mean over the runs of a row, of whatever tasks; MiB: their highest peak ({kinds})"


def repeats(count: int, kind: str) -> list[str]:
    """A note on records that are left out because they repeat others; `kind` in the plural."""
    why = "another one with the same settings and seed is later, or finished where they are not"
    return [f"{kind} left out because {why}: {count}"] if count else []


def stand_in_notes(model: str) -> list[str]:
    """A note on references that are of another model."""
    note = f"{model} is not the paper's model; {PAPER_MODEL}'s numbers stand beside it, without differences"
    return [] if model == PAPER_MODEL else [note]
