"""Tasks that map a sentence, or a pair of sentences, to a label or to a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from rocoft_bench.tasks.base import Task
from rocoft_bench.tasks.data import LABEL, check_class_labels, check_scores, check_texts, shortest_float32

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from rocoft_bench.tasks.readers import RawRows

_ENCODE_ROWS = 1000


@dataclass(frozen=True, kw_only=True)
class SequenceClassification(Task):
    """One of `label_names` for each row."""

    kind: ClassVar[str] = "sequence_classification"

    def encode(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
        """See `Task.encode`. A pair is cut at the end of whichever of the two is longer, token by token."""
        from datasets import Dataset, concatenate_datasets

        parts = []
        for batch in rows.iter(_ENCODE_ROWS):
            texts = (batch[name] for name in self.text_columns)
            tokens = tokenizer(*texts, truncation=True, max_length=max_length)
            parts.append(Dataset.from_dict({**tokens, "labels": batch[LABEL]}))
        return concatenate_datasets(parts)

    def predict(self, logits: np.ndarray) -> list[int] | list[float]:
        """The label code with the highest logit, the lowest code if two are equal."""
        return logits.argmax(axis=-1).tolist()

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        check_class_labels(raw, self.label_names)
        return raw.columns


@dataclass(frozen=True, kw_only=True)
class SequenceRegression(SequenceClassification):
    """A score for each row, between `lowest_score` and `highest_score`; the model's one output is the score itself."""

    lowest_score: float
    highest_score: float

    def predict(self, logits: np.ndarray) -> list[int] | list[float]:
        """The output as it is, not clipped to the range."""
        return logits[:, 0].astype("float64").tolist()

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        check_scores(raw, self.lowest_score, self.highest_score)
        return {**raw.columns, LABEL: shortest_float32(raw.columns[LABEL])}
