"""What a card is written from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rocoft_bench.config.catalog import known_model
from rocoft_bench.experiment.card.portable import name_of, without_machine_paths
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.models import PEFT_CONFIG
from rocoft_bench.runs import RunRecord, config_values

Form = Literal["peft", "own", "merged"]
"""How the trained values are saved: as a PEFT adapter, in this package's own format, in a plain model."""


def form_of(folder: Path) -> Form:
    """The form of the trained values in a folder."""
    return "peft" if (folder / PEFT_CONFIG).is_file() else "own"


@dataclass(frozen=True)
class Base:
    """The base model. id: on the hub, where it is there; expression: Python for what `from_pretrained` takes."""

    name: str
    id: str | None
    revision: str | None
    expression: str
    weights_sha256: str | None
    kind: str


@dataclass(frozen=True)
class Facts:
    """A finished run as its card shows it.

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
        common = {"weights_sha256": origin.get("weights_sha256"), "kind": kind, "revision": origin.get("revision")}
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
        """Where the rows are from: "train" and "evaluation", as far as the record has them."""
        data = self.records[0].data
        return {part: data[part] for part in ("train", "evaluation") if part in data}
