"""In what two runs, or a run and a cell of the paper, differ: what can change numbers first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from rocoft_bench.analysis.naming import model_key
from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.references import PaperCell
from rocoft_bench.config import ROW_PATHS, Settings, flatten
from rocoft_bench.errors import UserError
from rocoft_bench.experiment.resolve import resolve
from rocoft_bench.runs import RunRecord, config_values, digest
from rocoft_bench.runs.identity import HOW_ONLY, MODEL, REVISION
from rocoft_bench.untrusted import parse_yaml

DATA, PROTOCOL, WEIGHTS, METHOD = "data", "prompt and protocol", "model", "method"
TRAINING, SEED, PRECISION, HARDWARE, VERSIONS = "training", "seed", "precision", "hardware", "versions"
FOLLOWS = "what follows"
NO_EFFECT = "changes no number"
KINDS = (DATA, PROTOCOL, WEIGHTS, METHOD, TRAINING, SEED, PRECISION, HARDWARE, VERSIONS, FOLLOWS, NO_EFFECT)
"""What facts are of, in the order in which their differences are named."""

SECTIONS = {"task": PROTOCOL, "model": WEIGHTS, "method": METHOD, "training": TRAINING, "seed": SEED}
NUMBER_FORMATS = ("training.precision", "model.dtype", "model.quantization")

LOCATES = {
    **dict.fromkeys(("training source", *ROW_PATHS), "training rows"),
    **dict.fromkeys(("evaluation source", "task.eval_file"), "evaluation rows"),
    MODEL: "weights",
    REVISION: "weights",
}
"""Facts that say where something lies, and the one that says what it is: where that is known, the place is nothing."""

LOCAL = ("data_dir", "file")
"""Kinds of sources whose rows are read again; none is fetched."""

_AS_GOOD_AS_EQUAL = 1e-6
"""Losses that differ by no more of themselves are taken for equal."""


class Fact(NamedTuple):
    kind: str
    value: Any


Facts = dict[str, Fact]
"""By name. What is not known is left out."""


@dataclass(frozen=True)
class DifferingFact:
    kind: str
    name: str
    ours: Any
    theirs: Any


@dataclass(frozen=True)
class Differences:
    """known: in the order of their kinds. ours_alone, theirs_alone: facts that the other side does not state."""

    known: list[DifferingFact]
    ours_alone: list[str]
    theirs_alone: list[str]


def between(ours: Facts, theirs: Facts) -> Differences:
    """What differs between facts on two runs."""
    mine, other = (dict(sorted(facts.items(), key=lambda item: KINDS.index(item[1].kind))) for facts in (ours, theirs))
    found = [
        DifferingFact(_kind(name, mine, other), name, mine[name].value, other[name].value)
        for name in mine
        if name in other and mine[name].value != other[name].value
    ]
    return Differences(
        sorted(found, key=lambda difference: KINDS.index(difference.kind)),
        [name for name in mine if name not in other],
        [name for name in other if name not in mine],
    )


def _kind(name: str, ours: Facts, theirs: Facts) -> str:
    content = LOCATES.get(name, "")
    is_same = content in ours and content in theirs and ours[content].value == theirs[content].value
    return NO_EFFECT if is_same else ours[name].kind


def facts_of(run: Run) -> Facts:
    """Everything that is on record of a run and can differ without being its result."""
    record = run.record
    settings, ignored = _settings(run)
    prompt = {
        "task": f"{record.task['family']} {record.task['name']}",
        "template": record.prompt.get("template_version"),
        "protocol": record.protocol,
        "task version": record.task.get("version"),
    }
    return {
        **_known(DATA, _data(record)),
        **_known(PROTOCOL, prompt),
        **_known(WEIGHTS, {"weights": model_key(record.model)[1]}),
        **_known(HARDWARE, {"processes": record.processes}),
        **_known(FOLLOWS, _following(record)),
        **{key: Fact(_kind_of_setting(key, ignored), value) for key, value in settings.items()},
        **_provenance(run.provenance or {}),
    }


def _kind_of_setting(key: str, ignored: frozenset[str] = frozenset()) -> str:
    if key in ignored:
        return NO_EFFECT
    return PRECISION if key in NUMBER_FORMATS else SECTIONS.get(key.partition(".")[0], NO_EFFECT)


def _settings(run: Run) -> tuple[dict[str, Any], frozenset[str]]:
    """By dotted key, complete as far as this version knows them; and the keys of those that have no effect."""
    written = _written(run)
    try:
        experiment = resolve(Settings(dict(written)))
    except UserError:  # of another version, which this one would refuse
        return dict(flatten(written)), HOW_ONLY
    return dict(flatten(config_values(experiment.config))), HOW_ONLY | experiment.identity.ignored


def _written(run: Run) -> Mapping[str, Any]:
    """The settings in config.yaml; without one those that are in the record."""
    try:
        if written := _mapping(parse_yaml(run.config_text or "", run.id)):
            return written
    except UserError:
        pass
    record = run.record
    task = {**record.task.get("settings", {}), "family": record.task["family"], "name": record.task["name"]}
    return {"task": task, "method": record.method, "training": {"keep": record.keep}, "seed": record.seed}


def _data(record: RunRecord) -> dict[str, Any]:
    data = record.data
    facts: dict[str, Any] = {}
    for name, key, count in (("training", "train", "train_rows"), ("evaluation", "evaluation", "eval_rows")):
        source = data.get(key, {})
        place = [source.get(part) for part in ("kind", "id", "config", "revision", "path", "split")]
        facts[f"{name} rows"] = source.get("sha256")
        facts[f"{name} examples"] = data.get(count)
        facts[f"{name} source"] = " ".join(map(str, filter(None, place))) or None
    return facts


def _following(record: RunRecord) -> dict[str, Any]:
    """What settings and versions made of it: numbers of parameters, tokens of the first examples, remarks."""
    tokens = {
        f"first {name} example, as tokens": digest({"tokens": record.prompt.get(name)})
        for name in ("training", "evaluation")
        if record.prompt.get(name)
    }
    counts = {f"parameters: {name}": count for name, count in record.parameters.items()}
    return {**counts, **tokens, "notes": record.notes}


def _provenance(source: Mapping[str, Any]) -> Facts:
    hardware, packages, git = (_mapping(source.get(name)) for name in ("hardware", "packages", "git"))
    names = ("torch_threads", "gpus", "cuda", "cpu", "cpu_count")
    versions = {
        **packages,
        "python": source.get("python"),
        "platform": source.get("platform"),
        "commit": git.get("commit"),
        "uncommitted changes": git.get("dirty"),
        "plug-ins": source.get("plugins"),
    }
    return {
        **_known(HARDWARE, {name: hardware.get(name) for name in names}),
        **_known(VERSIONS, versions),
        **_known(NO_EFFECT, {"command": source.get("command"), "memory_mib": hardware.get("memory_mib")}),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _known(kind: str, values: Mapping[str, Any]) -> Facts:
    return {name: Fact(kind, value) for name, value in values.items() if value is not None}


TABLE_10 = {
    "dropout": "model.dropout",
    "norm_eps": "model.norm_eps",
    "pruning_strategy": "method.selection",
    "train_bias": "method.train_bias",
    "learning_rate": "training.learning_rate",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "gradient_accumulation": "training.gradient_accumulation",
    "weight_decay": "training.weight_decay",
    "warmup_steps": "training.warmup_steps",
    "lr_scheduler": "training.lr_scheduler",
}
"""Of its columns the setting that they state (see configs/README.md)."""

UNSAID = "seeds, the checkpoint that is evaluated, lengths in tokens, optimiser, versions and hardware"
"""What the paper leaves open."""


def beside_paper(run: Run, cell: PaperCell) -> tuple[Facts, Facts]:
    """The facts on a run that the paper states of a cell too, and what the paper states."""
    record, (settings, _) = run.record, _settings(run)
    theirs = {
        "task.max_train_rows": Fact(DATA, None),
        "task.max_eval_rows": Fact(DATA, None),
        "task": Fact(PROTOCOL, cell.task),
        **({"task.protocol": Fact(PROTOCOL, "published")} if "task.protocol" in settings else {}),
        "model": Fact(WEIGHTS, cell.model),
        "method": Fact(METHOD, cell.method),
        "millions of parameters (#TTPs)": Fact(FOLLOWS, cell.trainable_millions),
    }
    for column, text in cell.hyperparameters.items():
        if key := TABLE_10.get(column):
            theirs[key] = Fact(_kind_of_setting(key), _as_setting(column, text))
    own = {
        **settings,
        "task": record.task.get("paper_task") or record.task["name"],
        "model": record.model.get("paper_name") or record.model["name"],
        "method": record.label,
        "millions of parameters (#TTPs)": _as_printed(record, cell.trainable_millions),
    }
    return {name: Fact(fact.kind, own[name]) for name, fact in theirs.items() if name in own}, theirs


def _as_setting(column: str, text: str) -> Any:
    """The value of a cell of Table 10. Gradient accumulation "0" means none, that is 1."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return max(1.0, float(text)) if column == "gradient_accumulation" else float(text)
    except ValueError:
        return text


def _as_printed(record: RunRecord, printed: str) -> str:
    """The adapter's trained parameters in the paper's decimals; with the head's, where these are what fits."""
    adapter, head = record.parameters.get("adapter", 0), record.parameters.get("head", 0)
    decimals = len(printed.partition(".")[2])
    alone, together = (f"{count / 1e6:.{decimals}f}" for count in (adapter, adapter + head))
    return printed if printed in (alone, together) else alone


def first_other_loss(ours: Run, theirs: Run) -> tuple[int, float, float] | None:
    """The first step at which the losses of two runs differ, and both; None if none does, as far as both go."""
    a, b = (dict(run.losses(points=10**9)) for run in (ours, theirs))
    steps = sorted(a.keys() & b.keys())
    other = (step for step in steps if not math.isclose(a[step], b[step], rel_tol=_AS_GOOD_AS_EQUAL))
    return next(((step, a[step], b[step]) for step in other), None)


def other_rows(ours: Run, theirs: Run, split: str) -> str | None:
    """How many rows of a split ("train" or "evaluation") differ between two runs, and which is the first.

    None where they do not, or where the files of one of them are gone or have changed since.
    """
    a, b = ours.record.data.get(split, {}), theirs.record.data.get(split, {})
    if a.get("sha256") == b.get("sha256") or not {a.get("kind"), b.get("kind")}.issubset(LOCAL):
        return None
    try:
        mine, other = (list(zip(*_columns(run, split), strict=True)) for run in (ours, theirs))
    except (UserError, TypeError, ValueError):
        return None
    places = [place for place, (one, another) in enumerate(zip(mine, other, strict=False), 1) if one != another]
    counts = f"{len(mine):,} and {len(other):,} {split} rows"
    if not places:
        return f"{counts}: the same as far as both go"
    return f"{counts}: {len(places):,} differ, the first is row {places[0]:,}"


def _columns(run: Run, split: str) -> list[list[object]]:
    """Raises: UserError if the rows cannot be read, or are not those of the run."""
    experiment = resolve(Settings(dict(parse_yaml(run.config_text or "", run.id))))
    task, settings = experiment.task, experiment.config.task
    loaded = task.load_training(settings) if split == "train" else task.load(task.eval_split, settings.data_dir)
    if loaded.origin["sha256"] != run.record.data[split].get("sha256"):
        raise UserError(f"{run.id}: its rows have changed since")
    return [loaded.examples[name][:] for name in loaded.examples.column_names]
