"""What makes two runs the same, whichever version of this package wrote them and wherever their files lie.

Part of a run's identity are, by their dotted keys,
  - the settings of task, model, method and training that differ from their defaults: one that a later version adds, by
    default doing what was done before, makes no finished run look new. A method's own defaults, a plug-in's too, are
    defaults like all others; only its rate and decay count wherever they are not the schema's, so that they may change;
  - the seed;
  - the rows in `task.data_dir` or in own files and the weights of a model in a folder by their content, of which the
    record states hashes: it does not matter how a path is spelled, from where, and whether the folder has moved. The
    full path stands for content that is not known, because the files are gone or the run has no record yet;
  - data of the hub by the task's name, models of the hub by id and revision, an alias being its id.

No part of it are
  - what only says how a result is brought about (`HOW_ONLY`);
  - settings that the method ignores as the others are, e.g. RoCoFT's rank in mode random: they had no effect;
  - how a number is written: 16.0 is 16;
  - a task's version and the pinned commit of its rows: they are no settings, so that an upgrade repeats no run. The
    record states both, and reports keep apart what differs in them;
  - software, hardware and the number of processes, which are provenance.

A finished run is recognised by its config.yaml, which is complete, and not by the hash in its name or record: that one
may be of earlier rules.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rocoft_bench.config import ROW_PATHS, absolute, flatten, known_model, model_name
from rocoft_bench.runs.record import RunRecord

VERSION = 1
"""Part of every hash. It goes up when a default changes, which adding a setting does not: runs that had the old default
would have the hash of those that have the new one."""

HOW_ONLY = frozenset({"training.checkpoint_seconds"})

MODEL, REVISION = "model.name", "model.revision"

NOT_COMPARED = HOW_ONLY | {"seed", *ROW_PATHS, MODEL, REVISION, "training.evaluate", "training.evaluate_before"}
"""Settings that may differ within a cell of a table: they change nothing in training. Models are compared by their
weights and data by their content, as records state them, not by where they lie."""

SAME_WEIGHTS = {"weights_sha256": "weights' sha256", "revision": "commit", "weights_revision": "commit of the weights"}
"""What identifies a model in the facts on its origin."""

_encode = json.JSONEncoder(sort_keys=True).encode

Parts = Mapping[str, str | None]
"""Hashes of what a path stands for, by what they are of; None where it is not known."""


@dataclass(frozen=True)
class StoredSettings:
    """What is left of a run on disk: the settings in its config.yaml, and for those that are paths their content."""

    values: Mapping[str, Any]
    contents: Mapping[str, Parts]


@dataclass(frozen=True)
class Identity:
    """That of a run with some (complete, checked) settings.

    defaults: of all settings that have one. ignored: dotted keys of settings that have no effect beside the others.
    contents: looks up, when it is needed, the content of each setting that is a path in this run.
    """

    values: Mapping[str, Any]
    defaults: Mapping[str, Any]
    ignored: frozenset[str]
    contents: Mapping[str, Callable[[], Parts]]

    @cached_property
    def config_hash(self) -> str:
        """Equal hashes mean the same run."""
        return digest(self._own_choice)

    @cached_property
    def settings_hash(self) -> str:
        """Equal for runs that differ in their seed only."""
        return digest({key: text for key, text in self._own_choice.items() if key != "seed"})

    @property
    def compared(self) -> dict[str, Any]:
        """The settings that results in one cell of a table have in common, whether default or not, in one spelling."""
        return {key: json.loads(text) for key, text in self._texts.items() if key not in NOT_COMPARED}

    def is_of(self, stored: StoredSettings, recorded_hash: str) -> bool:
        """Whether a stored run is this one, and the record with a `config_hash` is that of its settings."""
        if self.differences(stored):
            return False
        return recorded_hash == self.config_hash or recorded_hash in (
            digest(self._chosen(stored)),  # differs from the one before where content is not known now
            hash_of_earlier_versions(stored.values),
        )

    def differences(self, stored: StoredSettings) -> list[str]:
        """In what a stored run is another one, a line for each setting."""
        ours, theirs = self._texts, self._texts_of(stored.values)
        keys = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key) and key not in self.contents]
        lines = [_difference(key, ours, theirs) for key in keys]
        # last, because looking up content may take a while
        return lines or [line for key in self.contents if (line := self._other_content(key, stored, theirs))]

    def _other_content(self, key: str, stored: StoredSettings, theirs: Mapping[str, str]) -> str | None:
        """What to say of a path that stands for something else in a stored run; None if it is the same."""
        before = stored.contents.get(key, {})
        now = self.contents[key]() if any(before.values()) else {}
        both = [part for part in now if now[part] and before.get(part)]
        if changed := [part for part in both if now[part] != before[part]]:
            return f"{key}: other {' and '.join(changed)}"
        is_same = self._texts[key] == theirs.get(key) or (both and len(both) == len(now))
        return None if is_same else _difference(key, self._texts, theirs)

    @cached_property
    def _own_choice(self) -> dict[str, Any]:
        return self._chosen(StoredSettings(self.values, {key: look_up() for key, look_up in self.contents.items()}))

    def _chosen(self, stored: StoredSettings) -> dict[str, Any]:
        """What is hashed: the settings that differ from their defaults, with content in the place of paths."""
        texts, defaults = self._texts_of(stored.values), self._texts_of({})
        chosen: dict[str, Any] = {key: text for key, text in texts.items() if text != defaults.get(key)}
        for key in self.contents:
            parts = stored.contents.get(key, {})
            if parts and None not in parts.values():
                chosen[key] = dict(parts)
        return {"version": VERSION, **chosen}

    @cached_property
    def _texts(self) -> Mapping[str, str]:
        return self._texts_of(self.values)

    def _texts_of(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Settings by dotted key, each in its one spelling; what was not written down had its default."""
        given = {**dict(flatten(self.defaults)), **dict(flatten(values))}
        kept = {key: value for key, value in given.items() if key not in HOW_ONLY | self.ignored}
        known = known_model(str(kept.get(MODEL)))
        if known is not None and kept.get(REVISION) == known.revision:  # which it has by default
            kept[REVISION] = None
        return {key: _encode(_canonical(key, value)) for key, value in kept.items()}


def digest(values: Mapping[str, Any]) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


def template_version(template: str) -> str:
    """Another one for every other template of a prompt, which nobody has to remember to count up."""
    return digest({"template": template})


def hash_of_earlier_versions(values: Mapping[str, Any]) -> str | None:
    """The `config_hash` that versions without this module gave to the settings that their config.yaml holds."""
    training = values.get("training")
    if not isinstance(training, Mapping):
        return None
    counted = {key: value for key, value in training.items() if f"training.{key}" not in HOW_ONLY}
    return digest({**values, "training": counted})


def stated_contents(record: RunRecord) -> dict[str, Parts]:
    """What a record states of the content of those settings that were paths."""
    sources = record.data.get("train", {}), record.data.get("evaluation", {})
    found: dict[str, Parts] = {}
    if any(source.get("kind") in ("data_dir", "file") for source in sources):
        found |= dict.fromkeys(ROW_PATHS, row_hashes(*(source.get("sha256") for source in sources)))
    if record.model.get("kind") == "folder":
        found[MODEL] = {"weights": record.model.get("weights_sha256")}
    return found


def row_hashes(train: str | None, evaluation: str | None) -> Parts:
    """The content of a folder of rows, as far as a run reads it."""
    return {"training rows": train, "evaluation rows": evaluation}


def _difference(key: str, ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    there, here = (json.loads(texts.get(key, "null")) for texts in (theirs, ours))
    return f"{key}: {there} there, {here} here"


def _canonical(key: str, value: Any) -> Any:
    """One value for all that mean the same."""
    if isinstance(value, (list, tuple)):
        return [_canonical("", each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if key == MODEL and (known := known_model(str(value))):
        return known.hub_id
    if isinstance(value, str) and key in (*ROW_PATHS, MODEL):
        with suppress(ValueError):  # what is no path stays what it is
            return model_name(value) if key == MODEL else str(absolute(value))
    return value


def other_weights(stated: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """In what a model is another one than was stated; None if it is the same, as far as both can be compared."""
    for key, name in SAME_WEIGHTS.items():
        before, now = stated.get(key), found.get(key)
        if before and now and before != now:
            return f"the {name} is {now[:12]}, and was {before[:12]}"
    return None


def can_be_compared(stated: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return any(stated.get(key) and found.get(key) for key in SAME_WEIGHTS)
