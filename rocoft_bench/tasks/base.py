"""The contract of a task: where its rows are, how a model sees them, how its answers are scored.

A benchmark is one file that makes `Task` objects and one line in the registry (`rocoft_bench.tasks`). A new kind of
task is a subclass that says how its rows are checked, encoded and predicted; loading and scoring stay as they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rocoft_bench.metrics import compute
from rocoft_bench.tasks.data import content_sha256, read_folder, read_hub

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from rocoft_bench.tasks.readers import RawRows


@dataclass(frozen=True)
class HubDataset:
    """A dataset on the Hugging Face hub, pinned: `revision` is a full commit hash, not a branch."""

    id: str
    config: str | None
    revision: str


@dataclass(frozen=True)
class LoadedSplit:
    """One split, checked and ready to encode, and where it came from.

    rows: the task's text columns, as strings, and "label"; nothing else.
    origin: for the run record; None where a field does not apply. kind (hub, data_dir or embedded), id (on the hub or
        of the embedded rows), path (of the file, as it was given), config, revision, split, num_rows, sha256 (of the
        rows' content: equal rows have equal hashes on every machine and in every file format).
    """

    rows: Dataset
    origin: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A benchmark task. Nothing is loaded until `load` is called.

    kind: what the model must be able to do; it chooses the model class.
    version: goes up whenever a change here can change a score; results of different versions do not compare.
    text_columns: one column, or two for sentence pairs, in the order the model reads them.
    label_names: by label code from 0; empty where the target is a number.
    metric_names: the first is the one that ranks runs.
    random_baseline: what guessing scores on the first metric.
    paper_task: the task's name in the tables of the paper; None if it is not there.
    """

    kind: ClassVar[str]

    name: str
    family: str
    version: int
    hub: HubDataset | None
    train_split: str
    eval_split: str
    text_columns: tuple[str, ...]
    label_names: tuple[str, ...]
    metric_names: tuple[str, ...]
    random_baseline: float
    paper_task: str | None

    @property
    def num_labels(self) -> int:
        """Outputs of the model: one for each label, one alone where the target is a number."""
        return max(1, len(self.label_names))

    def load(self, split: str, data_dir: Path | None = None) -> LoadedSplit:
        """Read and check a split: from `<data_dir>/<family>/<name>/`, else from the task's own source.

        Raises: UserError in one line: what is wrong with which row of which file, or what cannot be reached.
        """
        from datasets import Dataset

        raw = self._read(split, data_dir)
        columns = self._checked(raw)
        rows = Dataset.from_dict(columns)
        facts = {"split": split, "num_rows": len(rows), "sha256": content_sha256(columns)}
        unset = dict.fromkeys(("kind", "id", "path", "config", "revision"))
        return LoadedSplit(rows, {**unset, **raw.origin, **facts})

    def score(self, predictions: Sequence[float], references: Sequence[float]) -> dict[str, float]:
        """The task's metrics as fractions in [-1, 1], the main one first. Raises: as `rocoft_bench.metrics.compute`."""
        return compute(self.metric_names, predictions, references)

    @abstractmethod
    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
        """Rows as the model takes them: input_ids, attention_mask, token_type_ids if the tokenizer has them, labels.

        max_length: in tokens; longer rows are cut. Nothing is padded: that is done batch by batch.
        """

    @abstractmethod
    def predict(self, logits: np.ndarray) -> list[int] | list[float]:
        """The model's answers for logits of shape (n, num_labels), in the form that `score` compares."""

    @abstractmethod
    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        """The columns that the task uses, or a UserError that names the first wrong row."""

    def _read(self, split: str, data_dir: Path | None) -> RawRows:
        """The rows of a split with `text_columns` and "label", unchecked."""
        wanted = (*self.text_columns, "label")
        if data_dir is not None:
            return read_folder(data_dir, self.family, self.name, split, wanted)
        if self.hub is None:
            raise NotImplementedError(f"{type(self).__name__} has no hub dataset and must say where its rows are")
        return read_hub(self.hub, split, wanted)
