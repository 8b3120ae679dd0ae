"""Tasks that map a sentence, or a pair of sentences, to a label or to a score."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from rocoft_bench.tasks.data import LABEL, check_class_labels, check_texts, shortest_float32
from rocoft_bench.tasks.task import ENCODE_EXAMPLES, Encoded, Outputs, Prediction, Task

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from rocoft_bench.tasks.readers import RawRows


@dataclass(frozen=True, kw_only=True)
class SequenceClassification(Task):
    """One of `label_names`, by label code from 0, for each row."""

    kind: ClassVar[str] = "sequence_classification"
    answer_names: ClassVar[tuple[str, ...]] = ("prediction", "probability")
    target_columns: tuple[str, ...] = (LABEL,)
    label_names: tuple[str, ...]

    @property
    def model_options(self) -> dict[str, Any]:
        return {
            "problem_type": "single_label_classification",
            "num_labels": len(self.label_names),
            "id2label": dict(enumerate(self.label_names)),
            "label2id": {name: code for code, name in enumerate(self.label_names)},
        }

    def protocol(self, settings: Any) -> str:
        return "argmax over the classes"

    def encode(self, examples: Dataset, tokenizer: PreTrainedTokenizerBase, settings: Any, training: bool) -> Encoded:
        """See `Task.encode`. A pair is cut at the end of whichever of the two is longer, token by token."""
        from datasets import Dataset, concatenate_datasets

        parts, full = [], 0
        for batch in examples.iter(ENCODE_EXAMPLES):
            texts = (batch[name] for name in self.text_columns)
            tokens = tokenizer(*texts, truncation=True, max_length=settings.max_length)
            full += sum(len(ids) >= settings.max_length for ids in tokens["input_ids"])
            parts.append(Dataset.from_dict({**tokens, "labels": batch[LABEL]}))
        name = "training" if training else "evaluation"
        note = f"{full} {name} examples fill max_length {settings.max_length} and may have been cut"
        return Encoded(concatenate_datasets(parts), (note,) if full else ())

    def read(self, outputs: Outputs, encoded: Dataset, raw: Dataset, tokenizer: Any, settings: Any) -> list[Prediction]:
        return [{"prediction": self.predict(logits), "scores": logits.astype("float64").tolist()} for logits in outputs]

    def predict(self, logits: np.ndarray) -> int | float:
        """The label code with the highest logit of (num_labels,), the lowest code if two are equal."""
        return int(logits.argmax())

    def in_words(self, prediction: Prediction) -> str:
        answer = self.answer_columns(prediction)
        return f"{answer['prediction']}  (probability {answer['probability']:.4f})"

    def answer_columns(self, prediction: Prediction) -> dict[str, Any]:
        import numpy as np

        scores = np.exp(np.asarray(prediction["scores"]) - max(prediction["scores"]))
        label = self.label_names[prediction["prediction"]]
        return {"prediction": label, "probability": round(float(scores.max() / scores.sum()), 6)}

    def _no_target(self) -> dict[str, Any]:
        return {LABEL: 0}

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        codes: dict[Any, Any] = {name: code for code, name in enumerate(self.label_names)}
        labels = [codes.get(label, label) if isinstance(label, str) else label for label in raw.columns[LABEL]]
        raw = replace(raw, columns={**raw.columns, LABEL: labels})  # GLUE's own files have names, the hub has codes
        check_class_labels(raw, self.label_names)
        return raw.columns


@dataclass(frozen=True, kw_only=True)
class SequenceRegression(SequenceClassification):
    """A score for each row, between `lowest_score` and `highest_score`; the model's one output is the score itself."""

    answer_names: ClassVar[tuple[str, ...]] = ("prediction",)
    label_names: tuple[str, ...] = ()
    lowest_score: float
    highest_score: float

    @property
    def model_options(self) -> dict[str, Any]:
        return {"problem_type": "regression", "num_labels": 1}

    def protocol(self, settings: Any) -> str:
        return "the single output as it is"

    def predict(self, logits: np.ndarray) -> int | float:
        """The one output as it is, not clipped to the range."""
        return float(logits[0])

    def in_words(self, prediction: Prediction) -> str:
        return f"{prediction['prediction']:.4f}"

    answer_columns = Task.answer_columns

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        scale = f"from {self.lowest_score:g} to {self.highest_score:g}"
        for row, label in enumerate(raw.columns[LABEL]):
            if isinstance(label, bool) or not isinstance(label, int | float):
                raise raw.error(row, f"label {reprlib.repr(label)} is not a number {scale}")
            if not self.lowest_score <= label <= self.highest_score:
                raise raw.error(row, f"label {reprlib.repr(label)} is not {scale}")
        return {**raw.columns, LABEL: shortest_float32(raw.columns[LABEL])}
