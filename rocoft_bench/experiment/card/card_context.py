"""What a card is written from."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml

from rocoft_bench.config import flatten
from rocoft_bench.config.catalog import known_model
from rocoft_bench.experiment.card.portable import name_of, without_machine_paths
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.models import AUTO_CLASSES, PEFT_CONFIG
from rocoft_bench.runs import RunRecord, config_values

Form = Literal["peft", "own", "merged"]
"""How the trained values are saved: as a PEFT adapter, in this package's own format, in a plain model."""


def form_of(folder: Path) -> Form:
    """The form of the trained values in a folder."""
    return "peft" if (folder / PEFT_CONFIG).is_file() else "own"


EXAMPLES = {"train": "train_rows", "evaluation": "eval_rows"}
"""The parts of a record's data, and where it says how many examples of each were used."""


@dataclass(frozen=True)
class Base:
    """The base model. id: on the hub, where it is there; expression: Python for what `from_pretrained` takes."""

    name: str
    id: str | None
    revision: str | None
    expression: str
    kind: str


@dataclass(frozen=True)
class CardContext:
    """A finished run as its card shows it: what the template reads.

    provenance: of its file; None where that is missing. form: of the files beside the card. repo_id: of the hub's
    repository that the card is for; None for the card in the run's folder. evaluations: further records of the same
    trained values.
    """

    experiment: Experiment
    record: RunRecord
    provenance: dict[str, Any] | None
    form: Form
    repo_id: str | None = None
    evaluations: Sequence[RunRecord] = ()

    @cached_property
    def records(self) -> list[RunRecord]:
        """All results, the run's own first, without paths of this machine."""
        records = (self.record, *self.evaluations)
        return [RunRecord.model_validate(without_machine_paths(record.model_dump())) for record in records]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's settings as they can be published."""
        return without_machine_paths(config_values(self.experiment.config))

    @cached_property
    def base(self) -> Base:
        origin = self.record.model
        kind, name = origin.get("kind", "folder"), origin["name"]
        common = {"kind": kind, "revision": origin.get("revision")}
        if kind == "hub":
            return Base(name=origin["id"], id=origin["id"], expression=repr(origin["id"]), **common)
        known = known_model(name)
        if kind == "embedded" and known is not None and known.embedded is not None:
            on_hub = known.embedded.extra is not None
            expression = f"locate(ModelConfig(name={known.alias!r})).path"
            return Base(name=known.alias, id=known.hub_id if on_hub else None, expression=expression, **common)
        folder = name_of(name)
        return Base(name=folder, id=None, expression=repr(f"path/to/{folder}"), **common)

    @cached_property
    def data(self) -> dict[str, dict[str, Any]]:
        """Where the examples are from: "train" and "evaluation", as far as the record has them."""
        data = self.records[0].data
        return {part: data[part] for part in EXAMPLES if part in data}

    @property
    def origins(self) -> list[tuple[str, dict[str, Any], int | None]]:
        """What each part of the data is, of which origin, and how many of its examples were used; the same once."""
        found = [
            (part, record.data[part], record.data.get(used))
            for record in self.records
            for part, used in EXAMPLES.items()
            if part in record.data
        ]
        return [origin for place, origin in enumerate(found) if origin not in found[:place]]

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(note for record in self.records for note in record.notes))

    @property
    def settings(self) -> dict[str, Any]:
        """Method, training and model settings, and the seed, by dotted names."""
        sections = {key: self.config[key] for key in ("method", "training", "model")}
        return {**dict(flatten(sections)), "seed": self.config["seed"]}

    @property
    def auto_class(self) -> str:
        return AUTO_CLASSES[self.experiment.task.kind]

    @property
    def peft_alone_loads(self) -> bool:
        """Whether the method needs nothing beside `PeftModel.from_pretrained`, on a base that is loaded as usual."""
        method = self.experiment.method
        return self.form == "peft" and type(method).load is AdapterMethod.load and not method.loading_options

    @property
    def needs_registration(self) -> bool:
        """Whether PEFT knows the method only after `import rocoft_bench`."""
        return self.experiment.method.provider == "rocoft-bench"

    @property
    def text_options(self) -> list[tuple[str, str]]:
        """The options of `rocoft predict` with what to write there."""
        columns = map(str.upper, self.experiment.task.text_columns)
        return list(zip(("--text", "--text-pair"), columns, strict=False))

    @property
    def plugin_options(self) -> str:
        """For the command line, where the method or the task is of a file that has to be named; else empty."""
        used = (self.provenance or {}).get("plugins")
        entries = [entry for entry in used if isinstance(entry, dict)] if isinstance(used, list) else []
        files = dict.fromkeys(str(entry.get("plugin")) for entry in entries if entry.get("sha256"))
        return shlex.join(word for name in files for word in ("--plugin", name))

    @property
    def versions(self) -> str:
        """Of Python and the packages that the run was made with."""
        known = self.provenance or {}
        versions = {"python": known.get("python"), **(known.get("packages") or {})}
        return ", ".join(f"{name} {version}" for name, version in versions.items() if version)

    @property
    def config_yaml(self) -> str:
        return yaml.safe_dump(self.config, sort_keys=False)

    @property
    def repeat_command(self) -> str:
        task = self.config["task"]
        command = shlex.join(["rocoft", "train", task["family"], "--task", task["name"], "--config", "config.yaml"])
        return f"{command} {self.plugin_options}".rstrip()

    @property
    def given_command(self) -> str:
        """The command that made the run, without paths of this machine; empty if it is not on record."""
        return shlex.join(without_machine_paths((self.provenance or {}).get("command") or []))
