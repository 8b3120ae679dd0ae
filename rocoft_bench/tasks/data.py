"""Where a task's examples come from (a folder of the user, or the Hugging Face hub), and what they must look like.

Every source goes through the same checks, so that a wrong row is named before a model is loaded, and gives the same
rows and the same content hash.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.errors import UserError, reason
from rocoft_bench.models.hub import from_cache_or_hub
from rocoft_bench.tasks.readers import RawRows, require_columns
from rocoft_bench.untrusted.data_files import FORMS

if TYPE_CHECKING:
    from datasets import Dataset

LABEL = "label"
NOT_PINNED = "main"
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the Hugging Face hub: `revision` is a full commit hash, or `NOT_PINNED` where none is known."""

    id: str
    config: str | None
    revision: str

    @property
    def is_pinned(self) -> bool:
        """A branch is not: what it holds changes."""
        return self.revision != NOT_PINNED


def files_of_split(folder: Path, split: str) -> list[Path]:
    """What is there under the names that rows of a split can have, whether it can be read or not.

    Raises: UserError where the folder may not be looked into.
    """
    found = []
    for path in (folder / f"{split}{form}" for form in FORMS):
        try:
            path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({reason(error)})") from error
        found.append(path)
    return found


def read_hub(hub: HubDataset, split: str, wanted: Sequence[str], label_names: bool = False) -> RawRows:
    """The columns `wanted` of a dataset on the hub at its pinned commit, from the cache if it is there, unchecked.

    label_names: labels that the dataset has names for are given by name.

    Raises: UserError where the rows can be had neither from the cache nor from the hub.
    """
    source, rows, commit = _from_hub(hub, split)
    require_columns(source, rows.column_names, wanted)
    columns = {name: rows[name][:] for name in wanted}
    for name in wanted if label_names else ():
        if names := getattr(rows.features[name], "names", None):
            columns[name] = [names[code] if code in range(len(names)) else None for code in columns[name]]
    origin = {"kind": "hub", "id": hub.id, "config": hub.config, "revision": commit}
    return RawRows(source, "row", range(1, len(rows) + 1), columns, origin)


def columns_on_hub(hub: HubDataset, split: str) -> list[str]:
    """The columns of a dataset on the hub. Raises: as `read_hub`."""
    return list(_from_hub(hub, split)[1].column_names)


def _from_hub(hub: HubDataset, split: str) -> tuple[str, Dataset, str]:
    """A name for messages, the rows, and their commit."""
    source = f"dataset {hub.id}, config {hub.config}, split {split}"
    return source, *from_cache_or_hub(f"{source}, commit {hub.revision}", lambda: _load_pinned(hub, split))


def is_text(given: str) -> bool:
    """Whether a string can be encoded: half a surrogate pair cannot, as which Python keeps bytes that are not UTF-8."""
    return _SURROGATE.search(given) is None


def filled(cell: Any) -> Any:
    """An empty text for a cell that holds nothing: null, or what pandas writes for it (NaN)."""
    return "" if cell is None or cell != cell else cell


def check_texts(rows: RawRows, names: Sequence[str]) -> None:
    """Each cell of the columns `names` is a string that can be encoded (half a surrogate pair cannot). It may be empty.

    Raises: UserError that names the first row where it is not.
    """
    for name in names:
        called = rows.called.get(name, name)
        for row, cell in enumerate(rows.columns[name]):
            if not isinstance(cell, str):
                raise rows.error(row, f'"{called}" is {reprlib.repr(cell)}, not a string')
            if not is_text(cell):
                raise rows.error(row, f'"{called}" holds half of a surrogate pair, which is not text')


def check_class_labels(rows: RawRows, label_names: Sequence[str]) -> None:
    """Each label is an integer code, from 0, of one of `label_names`.

    Raises: UserError that names the first row where it is not.
    """
    allowed = ", ".join(f"{code} ({name})" for code, name in enumerate(label_names))
    for row, label in enumerate(rows.columns[LABEL]):
        if type(label) is not int:
            raise rows.error(row, f"label {reprlib.repr(label)} is not an integer; allowed: {allowed}")
        if label == -1:
            raise rows.error(row, f"label -1 means unlabelled; give a split that has labels: {allowed}")
        if not 0 <= label < len(label_names):
            raise rows.error(row, f"label {reprlib.repr(label)} is not one of {allowed}")


def shortest_float32(values: Sequence[float]) -> list[float]:
    """Each value as the shortest decimal that names the same float32.

    The hub stores scores as float32, text files as decimals: 3.799999952316284 and 3.8 are one score and must be
    equal, and hash equal, whatever they were read from.
    """
    import numpy as np

    return [float(str(value)) for value in np.asarray(values, dtype=np.float32)]


def content_sha256(columns: dict[str, list[Any]]) -> str:
    """Hash of the rows, the same on every machine and for every file format.

    SHA-256 over UTF-8 lines: a JSON list of the column names, then for each row a JSON list of its cells, without
    blanks and without ASCII escapes, each line ended by a newline.
    """
    digest = hashlib.sha256()
    encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
    for line in [list(columns), *zip(*columns.values(), strict=True)]:
        digest.update(encoder.encode(line).encode() + b"\n")
    return digest.hexdigest()


def find_split(data_dir: Path, family: str, name: str, split: str) -> Path:
    """The file <data_dir>/<family>/<name>/<split> in one of `FORMS`.

    Raises: UserError where there is no such file, or more than one.
    """
    folder = data_dir / family / name
    found = files_of_split(folder, split)
    if len(found) > 1:
        raise UserError(f"{folder}: holds {' and '.join(path.name for path in found)}; keep one of them")
    if not found:
        hint = _nearest([data_dir, data_dir / family, folder, folder / f"{split}.jsonl"])
        raise UserError(f"no examples for {family} {name}: looked for {folder / split}{', '.join(FORMS)}; {hint}")
    return found[0]


def _nearest(steps: Sequence[Path]) -> str:
    """The first of the steps that is missing, the last being a file, and the nearest name that is there instead."""
    missing = next((step for step in steps[:-1] if not step.is_dir()), steps[-1])
    state = "is not a folder" if missing.exists() else "does not exist"
    try:
        names = sorted(entry.name for entry in missing.parent.iterdir())
    except OSError:  # no folder, or one that may not be listed
        names = []
    near = difflib.get_close_matches(missing.name, names, n=1, cutoff=0.4)
    hint = f'the nearest name there is "{near[0]}"' if near else f"there: {', '.join(names[:8]) or 'nothing'}"
    return f"{missing} {state}, {hint}"


def _load_pinned(hub: HubDataset, split: str) -> tuple[Dataset, str]:
    """`load_dataset`, which runs no code of the repository, held to the pinned commit; and the commit.

    Without the hub, and whenever the hub refuses, `load_dataset` takes the newest copy in its cache, of any commit;
    the folder that the rows are in tells which commit it was.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        rows = load_dataset(hub.id, hub.config, revision=hub.revision, split=split, keep_in_memory=False)
    except (DatasetsError, RuntimeError) as error:
        raise OSError(str(error)) from error
    commits = {Path(file["filename"]).parent.name for file in rows.cache_files}
    if commits != {hub.revision} and hub.is_pinned:
        raise OSError(f"the cache holds another revision ({', '.join(sorted(commits))}), not the pinned {hub.revision}")
    return rows, commits.pop()
