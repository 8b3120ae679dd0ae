"""The user's own texts: their classes and scores, questions about passages, and texts made of texts."""

import math
import re
import reprlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import field_validator

from rocoft_bench.config import Count, CountFromZero, TaskConfig
from rocoft_bench.errors import UserError, shortened
from rocoft_bench.tasks.data import LABEL, check_texts, is_text, shortest_float32
from rocoft_bench.tasks.own.user_rows import TRAIN, OwnConfig, OwnTask, is_missing
from rocoft_bench.tasks.readers import RawRows
from rocoft_bench.tasks.sequence import SequenceClassification, SequenceRegression
from rocoft_bench.tasks.spans import SpanConfig, SpanExtraction, spelt_out
from rocoft_bench.tasks.summarization import Summarization, SummarizationConfig

_WHOLE = re.compile(r"(-?\d+)\.0+")
"""A whole number as pandas writes it where the column lacks a value somewhere."""
_LARGEST = 3.4e38
"""Score that a model, which computes in float32, can learn."""
_FEW = 20
"""Labels that a message lists, and examples from which on a label for each is a mistake."""


class ClassificationConfig(OwnConfig):
    labels: tuple[str, ...] | None = None
    """Names of the labels in the order of their codes; by default those of the training examples, sorted (recorded)."""

    @field_validator("labels", mode="before")
    @classmethod
    def _as_names(cls, labels: Any) -> Any:
        if not isinstance(labels, list | tuple):
            return labels
        names = tuple(label_name(label) if isinstance(label, int | float | str) else label for label in labels)
        if len(set(names)) != len(names) or len(names) < 2:
            raise ValueError("two labels or more are wanted, each once")
        return names


def label_name(cell: str | float | bool) -> str:
    """The name of a label, the same whatever the file's form: 5, 5.0 and "5" are one label, and so are true and "True".

    >>> [label_name(cell) for cell in (" good ", 5, 5.0, "5.0", True, "TRUE", 0.5)]
    ['good', '5', '5', '5', 'true', 'true', '0.5']
    """
    text = str(cell).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


@dataclass(frozen=True, kw_only=True)
class Classification(SequenceClassification, OwnTask):
    """One of the labels that the training examples have."""

    Settings: ClassVar[type[TaskConfig]] = ClassificationConfig
    own_columns: ClassVar[tuple[str, str | None, str]] = ("text", "text_pair", LABEL)
    family: str = "classification"
    text_columns: tuple[str, ...] = ("text",)
    label_names: tuple[str, ...] = ()
    metric_names: tuple[str, ...] = ("accuracy", "macro_f1")

    def bound(self, settings: Any) -> tuple[Self, Any]:
        task, settings = super().bound(settings)
        labels = settings.labels or task._found_labels()
        settings = settings.model_copy(update={"labels": labels})
        texts = tuple(task._text_names)
        return replace(
            task, config=settings, label_names=labels, text_columns=texts, random_baseline=1 / len(labels)
        ), settings

    def _found_labels(self) -> tuple[str, ...]:
        """Those of the training examples: whole numbers by value, others by the alphabet.

        Raises: UserError where they make no classification.
        """
        rows = self._source_rows(TRAIN)
        names = _names(rows)
        found, column = set(names), rows.called[LABEL]
        if len(found) == 1:
            raise UserError(
                f'{rows.source}: every row has the label "{shortened(names[0])}" in "{column}"; '
                "a classification needs two labels"
            )
        if len(found) == len(names) > _FEW:
            raise UserError(
                f'{rows.source}: each of the {len(names):,} rows has a label of its own in "{column}"; '
                "is it the right column? Numbers can be learnt by `rocoft train regression`"
            )
        is_whole = all(re.fullmatch(r"-?\d+", name) for name in found)
        # "1" and "01" have one value, and Python reads no more than 4,300 digits
        return tuple(sorted(found, key=lambda name: (Decimal(name), name)) if is_whole else sorted(found))

    def _strata(self, rows: RawRows) -> Sequence[str]:
        return _names(rows)

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        codes = {name: code for code, name in enumerate(self.label_names)}
        names = _names(raw)
        for row, name in enumerate(names):
            if name not in codes:
                more = f" and {len(codes) - _FEW} more" if len(codes) > _FEW else ""
                learnt = ", ".join(map(shortened, self.label_names[:_FEW])) + more
                raise raw.error(row, f'label "{shortened(name)}" is not one of those that are learnt: {learnt}')
        return {**raw.columns, LABEL: [codes[name] for name in names]}


def _names(rows: RawRows) -> list[str]:
    """Raises: UserError for a label that is neither a text nor a number."""
    for row, cell in enumerate(rows.columns[LABEL]):
        if isinstance(cell, list):
            raise rows.error(row, f"label {shortened(repr(cell))} is a list; an example has one label (no multi-label)")
        if not isinstance(cell, int | float | str):
            raise rows.error(row, f"label {reprlib.repr(cell)} is not a text, a whole number or true or false")
        if isinstance(cell, str) and not is_text(cell):
            raise rows.error(row, f"label {shortened(cell)} holds half of a surrogate pair, which is not text")
    return [label_name(cell) for cell in rows.columns[LABEL]]


@dataclass(frozen=True, kw_only=True)
class Regression(SequenceRegression, OwnTask):
    """A number for each row, learnt as it is."""

    own_columns: ClassVar[tuple[str, str | None, str]] = ("text", "text_pair", LABEL)
    family: str = "regression"
    text_columns: tuple[str, ...] = ("text",)
    metric_names: tuple[str, ...] = ("pearson", "spearman")
    lowest_score: float = -math.inf
    highest_score: float = math.inf

    def bound(self, settings: Any) -> tuple[Self, Any]:
        task, settings = super().bound(settings)
        return replace(task, text_columns=tuple(task._text_names)), settings

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        return {**raw.columns, LABEL: shortest_float32(_scores(raw))}

    def _strata(self, rows: RawRows) -> Sequence[str]:
        """By tenths of the examples, from the lowest scores to the highest; of few by larger parts, for one of each is
        held out.
        """
        scores = _scores(rows)
        parts = max(1, min(10, int(self.config.eval_share * len(scores))))
        ranks = {row: rank for rank, row in enumerate(sorted(range(len(scores)), key=scores.__getitem__))}
        return [str(parts * ranks[row] // len(scores)) for row in range(len(scores))]


def _scores(rows: RawRows) -> list[float]:
    """The numbers that the labels are or spell. Raises: UserError for one that is no finite number of float32."""
    scores = []
    for row, cell in enumerate(rows.columns[LABEL]):
        score = math.nan
        if isinstance(cell, int | float | str) and not isinstance(cell, bool):
            with suppress(ValueError):
                score = float(cell)
        if not abs(score) <= _LARGEST:
            raise rows.error(row, f"label {reprlib.repr(cell)} is not a number within ±{_LARGEST:g}")
        scores.append(score)
    return scores


class QuestionsConfig(SpanConfig, OwnConfig):
    text_column: str = "question"
    """Column with the question."""
    text_pair_column: str = "context"
    """Column with the passage that answers it."""
    label_column: str = "answers"
    """Column with the answers: in SQuAD's form, or the text of one, which is looked for in the passage."""
    unanswerable: bool = False
    """Questions may have no answer, and none may be given; scored as SQuAD v2.0 does."""


@dataclass(frozen=True, kw_only=True)
class Questions(SpanExtraction, OwnTask):
    """The span of a passage that answers a question."""

    Settings: ClassVar[type[TaskConfig]] = QuestionsConfig
    own_columns: ClassVar[tuple[str, str | None, str]] = ("question", "context", "answers")
    family: str = "questions"
    scored_by = "squad_v2"  # whether questions may have no answer or not: v2.0's script reads v1.1's answers too

    def bound(self, settings: Any) -> tuple[Self, Any]:
        task, settings = super().bound(settings)
        return replace(task, has_unanswerable=settings.unanswerable), settings

    @property
    def _needed(self) -> Sequence[str]:
        return self.text_columns

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        answers = [_answers(raw, row) for row in range(len(raw.places))]
        for row, each in enumerate(answers):
            if each in ([], {"text": [], "answer_start": []}) and not self.has_unanswerable:
                raise raw.error(row, "there is no answer; where questions may have none, --set task.unanswerable=true")
        return super()._checked(replace(raw, columns={**raw.columns, "answers": answers}))


def _answers(raw: RawRows, row: int) -> Any:
    """In SQuAD's form, whichever way they are written. Raises: UserError for an answer that the passage lacks."""
    cell, context = spelt_out(raw.columns["answers"][row]), raw.columns["context"][row]
    texts = [] if is_missing(cell) else [cell] if isinstance(cell, str) else cell
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return cell
    starts = [str(context).find(text) for text in texts]
    if -1 in starts:
        raise raw.error(row, f"the answer {reprlib.repr(texts[starts.index(-1)])} is not in the context")
    return {"text": texts, "answer_start": starts}


class Seq2SeqConfig(SummarizationConfig, OwnConfig):
    text_column: str = "source"
    """Column with the text that is read."""
    label_column: str = "target"
    """Column with the text that is to be written."""
    max_length: Count = 512
    """Longest text that is read, in tokens; longer ones are cut at the end, which is counted and reported."""
    num_beams: Count = 4
    """Hypotheses that beam search follows; 1 is greedy search."""
    min_new_tokens: CountFromZero = 0
    """Fewest tokens of a generated text."""
    max_new_tokens: Count = 128
    """Most tokens of a generated text, the end token included."""
    no_repeat_ngram_size: CountFromZero = 0
    """So many tokens in a row never occur twice in a generated text; 0 allows it."""


@dataclass(frozen=True, kw_only=True)
class Seq2Seq(Summarization, OwnTask):
    """A text for a text, generated by an encoder-decoder."""

    Settings: ClassVar[type[TaskConfig]] = Seq2SeqConfig
    own_columns: ClassVar[tuple[str, str | None, str]] = ("source", None, "target")
    family: str = "seq2seq"
    text_columns: tuple[str, ...] = ("source",)
    target_columns: tuple[str, ...] = ("target",)
