"""Made-up records and result folders, for tests of what is built on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rocoft_bench import paper, tasks
from rocoft_bench.analysis.long_table import long_table
from rocoft_bench.analysis.records import Results, Run, Stored
from rocoft_bench.analysis.references import PAPER_TABLES, PaperTable, references
from rocoft_bench.runs import EfficiencyRecord, KernelRecord, RunRecord

FINISHED_AT = "2026-01-01T00:00:00+00:00"
ROCOFT = {"name": "rocoft", "mode": "row", "rank": 3, "selection": "first", "target_modules": None}
ROBERTA = {"name": "FacebookAI/roberta-base", "paper_name": "roberta-base", "kind": "hub"}


def run_record(family: str = "glue", task: str = "rte", **changes: Any) -> RunRecord:
    """A finished run, by default of RoCoFT with three rows; those of one method on one task have the same settings."""
    known = tasks.get(family, task)
    label = changes.get("label", "RoCoFT-3-Row")
    seed = changes.get("seed", 0)
    source = {"kind": "hub", "id": "some/data", "revision": "0" * 40, "num_rows": 277, "sha256": f"{task}-rows"}
    values: dict[str, Any] = {
        "status": "ok",
        "config_hash": f"{label}-{task}-{seed}",
        "settings_hash": f"{label}-{task}",
        "label": label,
        "task": {
            "family": family,
            "name": task,
            "version": known.version,
            "paper_task": known.paper_task,
            "metric_names": list(known.metric_names),
            "eval_split": known.eval_split,
            "random_baseline": known.random_baseline,
            "settings": {},
        },
        "protocol": "argmax over the classes",
        "method": ROCOFT if label.startswith("RoCoFT") else {"name": label.lower()},
        "model": ROBERTA,
        "data": {"train": source, "evaluation": source, "train_rows": 2490, "eval_rows": 277},
        "seed": seed,
        "parameters": {"adapter": 248832, "head": 592130, "total": 125236994},
        "metrics": dict.fromkeys(known.metric_names, 0.75),
        "keep": "last",
        "steps": 10,
        "train_seconds": 60.0,
        "eval_seconds": 5.0,
        "peak_memory_mib": 1000.0,
        "peak_memory_kind": "allocated on the GPU",
        "finished_at": FINISHED_AT,
    }
    return RunRecord.model_validate({**values, **changes})


def kernel_record(task: str = "sst-2", shots: int = 16, seed: int = 13, **changes: Any) -> KernelRecord:
    difference = {"1": 0.1, "2": 0.2}
    values: dict[str, Any] = {
        "status": "ok",
        "config_hash": f"{task}-{shots}-{seed}",
        "settings_hash": f"{task}-{shots}",
        "task": task,
        "shots": shots,
        "seed": seed,
        "model": ROBERTA,
        "data": {"evaluation": {"kind": "hub", "sha256": f"{task}-rows"}, "train_rows": 2 * shots, "eval_rows": 872},
        "protocol": '"S It was [MASK]." with terrible, great; 128 tokens; at most 1,000 test rows',
        "kernels": {
            "full_ft": {"accuracy": 0.9},
            "K_full": {"accuracy": 0.88, "parameters": 124_000_000, "eigenvalues": [5.0, 1.0, 0.5]},
            "K_row": {"accuracy": 0.87, "relative_difference": difference, "eigenvalues": [4.0, 1.0, 0.4]},
            "K_column": {"accuracy": 0.86, "relative_difference": difference, "eigenvalues": [3.0, 1.0, 0.3]},
            "K_lora": {"accuracy": 0.85, "relative_difference": difference, "eigenvalues": [2.0, 1.0, 0.2]},
        },
        "seconds": 30.0,
        "peak_memory_mib": 2000.0,
        "finished_at": FINISHED_AT,
    }
    return KernelRecord.model_validate({**values, **changes})


def efficiency_record(label: str = "RoCoFT-3-Row", **changes: Any) -> EfficiencyRecord:
    seed = changes.get("seed", 0)
    values: dict[str, Any] = {
        "status": "ok",
        "config_hash": f"{label}-{seed}",
        "settings_hash": label,
        "label": label,
        "method": {"name": "rocoft", "mode": "row", "rank": 3, "target_modules": None},
        "model": ROBERTA,
        "seed": seed,
        "batch_size": 32,
        "sequence_length": 128,
        "precision": "fp32",
        "measured_steps": 20,
        "steps_per_epoch": 2105,
        "parameters": {"adapter": 248832, "head": 592130, "total": 125236994, "additional": 0},
        "seconds_per_step": 0.1,
        "flops_per_step": 3.6e11,
        "saved_bytes_per_step": 9.1e8,
        "model_memory_mib": 478.0,
        "optimization_memory_mib": 2000.0,
        "peak_memory_mib": 2478.0,
        "peak_memory_kind": "allocated on the GPU",
        "finished_at": FINISHED_AT,
    }
    return EfficiencyRecord.model_validate({**values, **changes})


def a_run(record: RunRecord, id: str | None = None) -> Run:
    """A run that is nowhere on disk."""
    id = id or f"{record.task['name']}/{record.label}_seed{record.seed}_{record.settings_hash}"
    return Run(id, record, Path("nowhere") / id)


def long_table_of(runs: Sequence[Run] = (), **analyses: Sequence[Stored[Any]]) -> pd.DataFrame:
    """The long table of runs, of `kernels` and of benches (`efficiency`)."""
    return long_table(Results(Path("results"), list(runs), **{kind: list(own) for kind, own in analyses.items()}))


def stored(record: Any, id: str | None = None, folder: Path = Path("nowhere")) -> Stored[Any]:
    """A record of an analysis that lies in a folder, which need not exist."""
    return Stored(id or f"{record.config_hash}_{record.settings_hash}", record, folder)


def write_record(folder: Path, record: RunRecord | KernelRecord | EfficiencyRecord) -> None:
    """The record in a folder of its own, in a file of the name that its kind has."""
    names = {RunRecord: "record.json", KernelRecord: "kernels.json", EfficiencyRecord: "efficiency.json"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[type(record)]).write_text(record.model_dump_json(), encoding="utf-8")


def write_run(
    folder: Path,
    record: RunRecord,
    predictions: Sequence[Any] = (),
    references: Sequence[Any] = (),
    losses: Sequence[float] = (),
    config: str = "",
    provenance: dict[str, Any] | None = None,
) -> None:
    """A run's folder with the files that are given."""
    write_record(folder, record)
    lines = [
        {"index": index, "prediction": prediction, "reference": reference}
        for index, (prediction, reference) in enumerate(zip(predictions, references, strict=True))
    ]
    history = [{"step": step, "loss": loss, "learning_rate": 1e-3} for step, loss in enumerate(losses, 1)]
    for name, rows in (("predictions.jsonl", lines), ("history.jsonl", history)):
        if rows:
            (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if config:
        (folder / "config.yaml").write_text(config, encoding="utf-8")
    if provenance is not None:
        (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")


ABOVE_PAPER = 1.0
SEED_STEP = 0.5
"""In `complete_results` the run of seed s scores (1 + s / 2) percent points more than the paper, on every metric."""


def complete_results(root: Path, seeds: int = 2) -> int:
    """A folder with runs for every cell of Tables 1, 2, 6, 7, 11 and 12. Returns their number."""
    count = 0
    for layout in PAPER_TABLES:
        for model in layout.models:
            for title in layout.methods(model):
                for record in _runs_of_method(layout, model, title, range(seeds)):
                    name = f"{record.task['name']}-{record.label}-{record.seed}".replace(" ", "-")
                    write_record(root / layout.key / model / name, record)
                    count += 1
    return count


def _runs_of_method(layout: PaperTable, model: str, title: str, seeds: Sequence[int]) -> Iterator[RunRecord]:
    printed = references(model, title)
    metrics: dict[str, dict[str, float]] = {}
    for (task, metric), result in printed.items():
        if task != "average":
            metrics.setdefault(task, {})[metric] = result.value
    protocol = {"settings": {"protocol": "published"}} if "math" in layout.families else {}
    for task in tasks.all_tasks():
        if task.family not in layout.families or task.paper_task not in metrics:
            continue
        for seed in seeds:
            own = {m: (v + ABOVE_PAPER + SEED_STEP * seed) / 100 for m, v in metrics[task.paper_task].items()}
            record = run_record(task.family, task.name, label=title, seed=seed, metrics=own)
            method = {"name": "rocoft", "mode": "random"} if layout.random else {"name": title}
            facts = {"method": method, "model": {"name": f"hub/{model}", "paper_name": model, "kind": "hub"}}
            yield record.model_copy(update={**facts, "task": {**record.task, **protocol}})


KERNEL_STEP = 0.01
"""In `complete_analyses` relative differences are so much more than the paper's; accuracies are as those of runs."""

FIGURE_4_TASKS = ("sst2", "rte", "qnli", "cola", "mnli")
LAYER = {"name": "linear-768", "kind": "layer", "d_in": 768, "d_out": 768}


def complete_analyses(root: Path, seeds: int = 2) -> None:
    """Kernel analyses for every cell of Tables 4, 5 and 13, runs for Table 8 and Figure 4, benches for Figure 2 and
    Table 3.
    """
    records: list[RunRecord | KernelRecord | EfficiencyRecord] = [*_analyses_of_kernels(range(seeds))]
    for printed in paper.rank_efficiency():
        name, _, mode = printed.method.lower().replace("rocoft-", "rocoft ").partition(" ")
        method = {"name": name, "rank": printed.rank, "target_modules": ["query", "key", "value"], "mode": mode or None}
        scores = {"accuracy": printed.accuracy + ABOVE_PAPER / 100}
        label = f"{printed.method}-{printed.rank}-attention"
        records.append(run_record("glue", "sst2", label=label, method=method, metrics=scores, settings_hash=label))
    for task in FIGURE_4_TASKS:
        records += [_chosen(task, mode, way) for mode in ("row", "column") for way in ("max", "min", "mixed", "random")]
    records += [efficiency_record(label) for label in ("RoCoFT-3-Row", "LoRA", "FT")]
    layer = {"adapter": 3 * 768, "head": 0, "total": 768 * 768, "additional": 0}
    records.append(efficiency_record(model=LAYER, parameters=layer, settings_hash="layer", config_hash="layer"))
    for number, record in enumerate(records):
        write_record(root / f"analysis-{number:03}", record)


def _analyses_of_kernels(seeds: range) -> Iterator[KernelRecord]:
    printed: dict[tuple[int, str], dict[str, dict[str, Any]]] = {}
    for result in paper.kernel_results():
        kernel = printed.setdefault((result.shots, result.task), {}).setdefault(result.kernel, {})
        if result.p is None:
            kernel["accuracy"] = result.mean
        else:
            kernel.setdefault("relative_difference", {})[str(result.p)] = result.mean + KERNEL_STEP
    for (shots, task), kernels in printed.items():
        for seed in seeds:
            above = ABOVE_PAPER + SEED_STEP * seed
            own = {name: dict(kernel) for name, kernel in kernels.items()}
            for name, kernel in own.items():
                if "accuracy" in kernel:
                    kernel["accuracy"] = (kernel["accuracy"] + above) / 100
                if name != "full_ft":
                    kernel["eigenvalues"] = [3.0, 1.0, 0.5]
            yield kernel_record(task, shots, seed, kernels=own)


def _chosen(task: str, mode: str, selection: str) -> RunRecord:
    method = {**ROCOFT, "mode": mode, "rank": 4, "selection": selection}
    return run_record(
        "glue", task, label=f"RoCoFT-4-{mode.title()}", method=method, settings_hash=f"{mode}-{selection}"
    )
