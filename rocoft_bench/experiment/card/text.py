"""A card's text: what the model is, how good, how to use it, how it came about."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from rocoft_bench.config import leaves
from rocoft_bench.experiment.card.facts import Facts, Form
from rocoft_bench.experiment.card.loading import how_to_use
from rocoft_bench.experiment.card.markdown import block, code, plain, table
from rocoft_bench.experiment.card.metadata import SOURCES
from rocoft_bench.experiment.card.portable import without_machine_paths
from rocoft_bench.runs import RunRecord

FORMS: dict[Form, str] = {
    "peft": "A PEFT adapter",
    "own": "Trained values in rocoft-bench's own format",
    "merged": "A plain model with trained values merged into it",
}


def body(facts: Facts) -> str:
    """Everything below the metadata, in Markdown."""
    record = facts.records[0]
    sections = {
        "Results": _results(facts),
        "Notes": _notes(facts),
        "How to use it": how_to_use(facts),
        "Training": _settings(facts),
        "Parameters and cost": _cost(record),
        "Data": _data(facts),
        "Software and hardware": _software(facts.provenance),
        "How to repeat it": _repeat(facts),
    }
    title = f"# {plain(record.label)} on {plain(_task(record))}, {plain(facts.base.name)}"
    parts = [title, _summary(facts), *(f"## {heading}\n\n{text}" for heading, text in sections.items())]
    return "\n\n".join(parts) + "\n"


def _task(record: RunRecord) -> str:
    return f"{record.task['family']} {record.task['name']}"


def _summary(facts: Facts) -> str:
    """What it is in one sentence, and what it is not."""
    method, record, base = facts.experiment.method, facts.records[0], facts.base
    sentences = [
        f"{FORMS[facts.form]}: {plain(record.label)} ({plain(method.trains)}; {plain(method.reference)}) "
        f"of {code(base.name)}, trained on {plain(_task(record))} by rocoft-bench."
    ]
    if any(origin.get("kind") == "embedded" for origin in facts.data.values()):
        sentences.append(
            "The rows are generated ones that come with rocoft-bench, made for demonstrations: "
            "the results say nothing about real data."
        )
    if base.kind == "embedded" and base.id is None:
        sentences.append("The base model is a small demonstration model that comes with rocoft-bench.")
    return " ".join(sentences)


def _results(facts: Facts) -> str:
    header = ["Task", "Split", "Rows", "Metric", "%", "Protocol"]
    rows = (row for record in facts.records for row in _result_rows(record))
    record = facts.records[0]
    guessing = f"Guessing gives {100 * record.task['random_baseline']:.2f} in {code(record.task['metric_names'][0])}."
    return f"{table(header, rows)}\n\nOne run, seed {record.seed}; {_kept(record)}. {guessing}"


def _result_rows(record: RunRecord) -> Iterator[list[str]]:
    split = record.data.get("evaluation", {}).get("split") or record.task["eval_split"]
    rows = _count(record.data.get("eval_rows"))
    if (of := record.data.get("evaluation", {}).get("num_rows")) not in (None, record.data.get("eval_rows")):
        rows += f" of {of:,}"
    for name, value in (record.metrics or {}).items():
        yield [plain(_task(record)), plain(split), rows, code(name), f"{100 * value:.2f}", plain(record.protocol)]


def _kept(record: RunRecord) -> str:
    epoch = "" if record.kept_epoch is None else f" ({record.kept_epoch})"
    if record.keep == "best":
        return f"the weights are of the epoch{epoch} that was best on these very evaluation rows"
    return f"the weights are of the last epoch{epoch}"


def _notes(facts: Facts) -> str:
    """What the records note."""
    notes = list(dict.fromkeys(note for record in facts.records for note in record.notes))
    return "\n".join(f"- {plain(note)}" for note in notes) or "Nothing on record."


def _settings(facts: Facts) -> str:
    """Method, training and model settings that are set, and the seed."""
    config = facts.config
    sections = {key: config[key] for key in ("method", "training", "model")}
    shown = {**dict(leaves(sections)), "seed": config["seed"]}
    rows = ([code(key), code(value)] for key, value in shown.items() if value is not None)
    return f"{_base(facts.records[0])}\n\n{table(['Setting', 'Value'], rows)}"


def _base(record: RunRecord) -> str:
    """The base model as exactly as the record knows it."""
    names = {
        "id": "",
        "revision": "revision",
        "weights_revision": "weights of",
        "weights_sha256": "sha256 of its weights",
    }
    known = [f"{name} {code(record.model[key])}".strip() for key, name in names.items() if record.model.get(key)]
    return f"Base model: {', '.join([plain(record.model.get('kind', 'origin not on record')), *known])}"


def _cost(record: RunRecord) -> str:
    counts = record.parameters
    facts = {
        "Trained, adapter": _count(counts.get("adapter")),
        "Trained, task head": _count(counts.get("head")),
        "Whole model": _count(counts.get("total")),
        "Adapter values left to save": _count(counts.get("stored")),
        "Size of the adapter's files, head included": _count(record.adapter_bytes, " bytes"),
        "Optimizer steps": _count(record.steps),
        "Time in training steps": _number(record.train_seconds, " s"),
        "Time in evaluation": _number(record.eval_seconds, " s"),
        f"Peak memory ({plain(record.peak_memory_kind or 'kind not on record')})": _number(
            record.peak_memory_mib, " MiB"
        ),
        "Processes": _count(record.processes),
    }
    return table(["", ""], facts.items())


def _data(facts: Facts) -> str:
    header = ["Part", "From", "Name", "Revision", "Split", "Rows used", "Rows", "sha256 of the rows"]
    used = {"train": "train_rows", "evaluation": "eval_rows"}
    rows = [
        [part, SOURCES.get(origin.get("kind"), "not on record"), _name(origin), _maybe_code(origin.get("revision")),
         plain(origin.get("split")), _count(record.data.get(used[part])), _count(origin.get("num_rows")),
         _maybe_code(origin.get("sha256"))]
        for record in facts.records
        for part, origin in record.data.items() if part in used
    ]  # fmt: skip
    return table(header, _unique(rows))


def _unique(rows: Iterable[list[str]]) -> Iterable[list[str]]:
    return [list(row) for row in dict.fromkeys(map(tuple, rows))]


def _name(origin: dict[str, Any]) -> str:
    return ", ".join(code(origin[key]) for key in ("id", "config", "path") if origin.get(key)) or "not on record"


def _software(provenance: dict[str, Any] | None) -> str:
    if provenance is None:
        return "Not on record."
    hardware, git = provenance.get("hardware") or {}, provenance.get("git") or {}
    gpus = ", ".join(hardware.get("gpus") or []) or "none"
    lines = [f"GPUs: {plain(gpus)}; CPU: {plain(hardware.get('cpu'))}, threads: {hardware.get('torch_threads')}"]
    if git:
        changed = " with changes" if git.get("dirty") else ""
        lines.append(f"rocoft-bench from its repository at {code(git.get('commit'))}{changed}")
    versions = {"python": provenance.get("python"), **(provenance.get("packages") or {})}
    lines.append(", ".join(f"{plain(name)} {plain(version)}" for name, version in versions.items() if version))
    return "\n".join(f"- {line}" for line in lines)


def _repeat(facts: Facts) -> str:
    task = facts.config["task"]
    command = shlex.join(["rocoft", "train", task["family"], "--task", task["name"], "--config", "config.yaml"])
    settings = block(yaml.safe_dump(facts.config, sort_keys=False), "yaml")
    parts = [
        f"Save the settings below as {code('config.yaml')}; paths in them are shortened to their last part.",
        block(command, "sh"),
        f"<details>\n<summary>config.yaml</summary>\n\n{settings}\n\n</details>",
    ]
    if facts.provenance and facts.provenance.get("command"):
        given = shlex.join(without_machine_paths(facts.provenance["command"]))
        parts.append(f"The run was made by\n\n{block(given, 'sh')}")
    return "\n\n".join(parts)


def _count(value: int | None, unit: str = "") -> str:
    return "not on record" if value is None else f"{value:,}{unit}"


def _number(value: float | None, unit: str) -> str:
    return "not on record" if value is None else f"{value:,.1f}{unit}"


def _maybe_code(value: str | None) -> str:
    return code(value) if value else "none"
