"""All results as one long table: a row for each value of each record, and every condition that it holds under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from rocoft_bench.analysis.naming import hardware, in_examples, model_key, model_text
from rocoft_bench.analysis.records import Results, Run, Stored
from rocoft_bench.runs import EfficiencyRecord, Kernel, KernelName, KernelRecord, RunRecord

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "source": "the kind of record: run, kernels or bench",
    "id": "the record's folder below the results",
    "status": "ok, or how the run, the analysis or the bench ended",
    "error": "what went wrong, in a line",
    "seed": "of the record",
    "finished_at": "when, in UTC",
    "settings_hash": "equal for records that differ in nothing but their seed",
    "model": "the paper's name of the model, else its own without folder or owner",
    "paper_model": "the paper's name of the model, if it is one of the paper's",
    "weights": "hash or revision of the model's weights",
    "model_kind": "e.g. hub; layer for a single layer",
    "model_text": "the model with where it is from",
    "family": "of the task",
    "task": "as in this package, of kernels as in the paper; empty for a bench on made-up examples",
    "paper_task": "as in the paper",
    "label": "the method's row title, e.g. RoCoFT-3-Row",
    "method": "the method's name, e.g. rocoft",
    "mode": "row or column, of RoCoFT",
    "rank": "of the method, where it has one",
    "selection": "how rows or columns were chosen",
    "target_modules": "the layers that are tuned: a sorted tuple; nothing for the method's own choice",
    "settings": "of the method (and of a run's task), and what else a bench or an analysis was told; JSON",
    "config": "a run's config.yaml, as it was written",
    "shots": "training examples per class, of kernels",
    "data_kind": "hub (GitHub included), data_dir or embedded; of a run that failed early, where data would be from",
    "data": "where examples are from, and how many were trained on and evaluated, in words",
    "data_source": "hub, github, data_dir or embedded; nothing where a run failed before it had data",
    "all_examples": "whether no limit left examples out",
    "train_limited": "whether one left training examples out",
    "eval_limited": "whether one left evaluation examples out",
    "train_available": "how many training examples there are",
    "eval_available": "how many evaluation examples there are",
    "train_data": "hash of the training data, else of where they are from",
    "eval_data": "the same of what was evaluated on",
    "train_examples": "their number; of a run that failed early, its limit",
    "eval_examples": "the same of those that it was evaluated on",
    "max_length": "where examples were cut, in tokens, as a text",
    "task_version": "of the task's code",
    "protocol": "how predictions were made and scored, in words",
    "template_version": "of the prompt, for models that answer in words",
    "prompts": "of commonsense and math: strict, published or likelihood",
    "loss_on": "of language models: sequence or response",
    "checkpoint": "which one was evaluated: last or best",
    "batch_size": "of a bench",
    "sequence_length": "of a bench, in tokens",
    "precision": "of a bench, e.g. fp32",
    "measured_steps": "of a bench",
    "layer_inputs": "of a bench of a single layer",
    "layer_outputs": "of a bench of a single layer",
    "hardware": "the machine, in words",
    "peak_memory_kind": "how the peak was measured",
    "has_head": "whether there is a task head; nothing if that is not known",
    "notes": "what the record says of itself: a tuple",
    "metric_names": "what a run is scored by, the main metric first: a tuple",
    "metric": "what the value is of",
    "kernel": "which kernel the value is of",
    "value": "in percent for scores; else in the unit that the metric's name says",
    "failure": "how the record ended, where it has no value for that; else empty",
}
"""The columns of the table, and what is in them. Nothing (None) is in those that a kind of record does not have."""

RUN_COSTS = ("adapter", "head", "train_seconds", "peak_memory_mib")
"""What a run has beside its scores."""

BENCH_COSTS = (
    *("seconds_per_step", "tokens_per_second", "seconds_per_epoch", "seconds_beside_frozen"),
    *("model_memory_mib", "optimization_memory_mib", "peak_memory_mib", "gradients_mib", "optimizer_state_mib"),
    *("mean_memory_mib", "memory_mib_99", "reserved_memory_mib"),
    *("flops_per_step", "saved_bytes_per_step", "added_operations_per_layer"),
    *("adapter_bytes", "merge_seconds", "decode_seconds", "merged_decode_seconds"),
)
BENCH_COUNTS = ("adapter", "head", "additional")

SOURCES = {
    "hub": "the hub",
    "github": "GitHub",
    "data_dir": "local files",
    "file": "local files",
    "embedded": "generated, embedded in the package",
}

LOCAL_KINDS = {"data_dir": "data_dir", "train_file": "file"}
"""By the setting that names local examples, their kind."""

UNPARSED = "unparsed"
"""The share of answers that could not be read, which count as wrong: no metric to compare by, but to be told."""


class Value(NamedTuple):
    source: str
    id: str
    metric: str
    value: float | None
    failure: str = ""
    kernel: str | None = None


def long_table(results: Results) -> pd.DataFrame:
    """The results with the columns of `COLUMNS`, records in the order of their folders."""
    import pandas as pd

    records = [*map(_of_run, results.runs), *map(_of_analysis, results.kernels), *map(_of_bench, results.efficiency)]
    values = [
        *(value for run in results.runs for value in _run_values(run)),
        *(value for analysis in results.kernels for value in _kernel_values(analysis)),
        *(value for bench in results.efficiency for value in _bench_values(bench)),
    ]
    names = [name for name in COLUMNS if name not in Value._fields[2:]]
    conditions = pd.DataFrame(records, columns=names, dtype=object)
    table = conditions.merge(pd.DataFrame(values, columns=Value._fields, dtype=object), on=["source", "id"], how="left")
    return table.where(table.notna(), None)[list(COLUMNS)].astype({"value": float})


def _of_any(item: Run | Stored[Any], source: str) -> dict[str, Any]:
    record = item.record
    model, weights = model_key(record.model)
    return {
        "source": source,
        "id": item.id,
        **{name: getattr(record, name) for name in ("status", "error", "seed", "finished_at", "settings_hash")},
        "model": model,
        "paper_model": record.model.get("paper_name"),
        "weights": weights,
        "model_kind": record.model.get("kind"),
        "model_text": model_text(record.model),
        "hardware": hardware(item.provenance),
        "notes": tuple(map(in_examples, record.notes)),
    }


def _of_method(method: Mapping[str, Any]) -> dict[str, Any]:
    targets = method.get("target_modules")
    return {
        "method": method.get("name"),
        **{name: method.get(name) for name in ("mode", "rank", "selection")},
        "target_modules": tuple(sorted(targets)) if isinstance(targets, list) else targets,
    }


def _of_run(run: Run) -> dict[str, Any]:
    record, data = run.record, run.record.data
    settings = record.task.get("settings", {})
    numbers = _numbers(record, "train") | _numbers(record, "eval")
    return {
        **_of_any(run, "run"),
        **_of_method(record.method),
        "label": record.label,
        "family": record.task["family"],
        "task": record.task["name"],
        "paper_task": record.task.get("paper_task"),
        "settings": json.dumps({"method": record.method, "task": settings}),
        "config": run.config_text,
        "data_kind": _data_kind(record),
        "data": _data_of_run(record),
        "data_source": data["evaluation"]["kind"] if data else None,
        **numbers,
        "all_examples": not (numbers["train_limited"] or numbers["eval_limited"]),
        "train_data": _content(data.get("train", {})) if settings.get("draw", 0) is not None else None,
        "eval_data": _content(data.get("evaluation", {})),
        "max_length": str(settings["max_length"]) if "max_length" in settings else None,
        "task_version": record.task.get("version"),
        "protocol": in_examples(record.protocol),
        "template_version": record.prompt.get("template_version"),
        "prompts": "likelihood" if settings.get("scoring") == "likelihood" else settings.get("protocol", ""),
        "loss_on": settings.get("loss_on", ""),
        "checkpoint": record.keep,
        "peak_memory_kind": record.peak_memory_kind,
        "has_head": bool(record.parameters["head"]) if record.parameters else None,
        "metric_names": tuple(record.task["metric_names"]),
    }


def _run_values(run: Run) -> Iterator[Value]:
    record = run.record
    scores = record.metrics or {}
    failure = "" if scores else "no result" if record.status == "ok" else record.status
    for name in dict.fromkeys([*record.task["metric_names"], *scores]):
        yield Value("run", run.id, name, 100 * scores[name] if name in scores else None, failure)
    costs = {**record.parameters, "train_seconds": record.train_seconds, "peak_memory_mib": record.peak_memory_mib}
    for name in RUN_COSTS:
        yield Value("run", run.id, name, costs.get(name))


def _data_kind(record: RunRecord) -> str:
    if record.data:
        kind: str = record.data["evaluation"]["kind"]
        return "hub" if kind == "github" else kind
    if record.task["family"] == "demo":
        return "embedded"
    settings = record.task.get("settings", {})
    return next((kind for key, kind in LOCAL_KINDS.items() if settings.get(key)), "hub")


def _numbers(record: RunRecord, part: str) -> dict[str, Any]:
    """How many examples of a part ("train" or "eval") were used, of how many, and whether that is for a limit."""
    limit = record.task.get("settings", {}).get(f"max_{part}_rows")
    available = record.data.get({"eval": "evaluation"}.get(part, part), {}).get("num_rows")
    return {
        f"{part}_examples": record.data.get(f"{part}_rows", limit),
        f"{part}_available": available,
        f"{part}_limited": bool(limit) and (available is None or limit < available),
    }


def _data_of_run(record: RunRecord) -> str:
    if not record.data:
        return ""
    source = record.data["evaluation"]
    from_hub = source.get("id") and _data_kind(record) == "hub"
    where = f"{source['id']} @ {str(source.get('revision'))[:10]}, " if from_hub else ""
    trained, evaluated = (_used(_numbers(record, part), part) for part in ("train", "eval"))
    return f"{where}{trained} training examples, {evaluated} of {record.task['eval_split']}"


def _used(numbers: Mapping[str, Any], part: str) -> str:
    used, available = numbers[f"{part}_examples"], numbers[f"{part}_available"]
    of_all = f" of {available:,}" if available else ""
    return f"first {used:,}{of_all}" if numbers[f"{part}_limited"] else f"{used:,}"


def _content(source: Mapping[str, Any]) -> str | None:
    described = json.dumps(source, sort_keys=True).encode()
    return source.get("sha256") or (hashlib.sha256(described).hexdigest() if source else None)


def _of_analysis(analysis: Stored[KernelRecord]) -> dict[str, Any]:
    record = analysis.record
    source = record.data.get("evaluation", {})
    rows = f", tested on {record.data['eval_rows']:,} examples" if "eval_rows" in record.data else ""
    where = [SOURCES.get(source.get("kind"), source.get("kind")), source.get("id")]
    return {
        **_of_any(analysis, "kernels"),
        "task": record.task,
        "paper_task": record.task,
        "shots": record.shots,
        "settings": json.dumps(record.settings, sort_keys=True),
        "data": " ".join(filter(None, where)) + rows,
        "data_source": source.get("kind"),
        "eval_data": source.get("sha256"),
        "eval_examples": record.data.get("eval_rows"),
        "protocol": in_examples(record.protocol),
        "template_version": record.prompt.get("template_version"),
    }


def _kernel_values(analysis: Stored[KernelRecord]) -> Iterator[Value]:
    """Of a failed analysis also those that it did not reach."""
    record = analysis.record
    for name in get_args(KernelName):
        kernel = record.kernels.get(name, Kernel())
        found = {
            "accuracy": None if kernel.accuracy is None else 100 * kernel.accuracy,
            "relative_difference_1": kernel.relative_difference.get("1"),
            "relative_difference_2": kernel.relative_difference.get("2"),
            "alignment": kernel.alignment,
        }
        for metric, value in found.items():
            if value is not None or record.status != "ok":
                yield Value("kernels", analysis.id, metric, value, "" if value is not None else record.status, name)
        if kernel.f1 is not None and kernel.accuracy is not None:
            yield Value("kernels", analysis.id, "f1", 100 * kernel.f1, kernel=name)


def _of_bench(bench: Stored[EfficiencyRecord]) -> dict[str, Any]:
    record = bench.record
    names = ("label", "batch_size", "sequence_length", "precision", "measured_steps", "peak_memory_kind")
    return {
        **_of_any(bench, "bench"),
        **_of_method(record.method),
        **{name: getattr(record, name) for name in names},
        "task": record.task or "",
        "settings": json.dumps({"method": record.method, **record.settings}, sort_keys=True),
        "layer_inputs": record.model.get("d_in"),
        "layer_outputs": record.model.get("d_out"),
    }


def _bench_values(bench: Stored[EfficiencyRecord]) -> Iterator[Value]:
    record = bench.record
    found = {name: getattr(record, name) for name in BENCH_COSTS}
    found |= {name: record.parameters.get(name) for name in BENCH_COUNTS}
    for name, value in found.items():
        yield Value("bench", bench.id, name, value, record.status if value is None and record.status != "ok" else "")
