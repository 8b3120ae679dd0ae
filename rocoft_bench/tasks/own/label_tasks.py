"""Classification and regression of the user's own texts, or pairs of texts."""

import math
import re
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import field_validator

from rocoft_bench.config import TaskConfig
from rocoft_bench.errors import UserError, shortened
from rocoft_bench.tasks.data import LABEL, check_texts, is_text, shortest_float32
from rocoft_bench.tasks.own.user_rows import TRAIN, OwnConfig, OwnTask
from rocoft_bench.tasks.readers import RawRows
from rocoft_bench.tasks.sequence import SequenceClassification, SequenceRegression
from rocoft_bench.tasks.task import Task

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
class Classification(OwnTask, SequenceClassification):
    """One of the labels that the training examples have."""

    Settings: ClassVar[type[TaskConfig]] = ClassificationConfig
    own_columns: ClassVar[tuple[str, str | None, str]] = ("text", "text_pair", LABEL)
    name: str = "classification"
    family: str = "classification"
    text_columns: tuple[str, ...] = ("text",)
    target_columns: tuple[str, ...] = (LABEL,)
    label_names: tuple[str, ...] = ()
    metric_names: tuple[str, ...] = ("accuracy", "macro_f1")
    random_baseline: float = 0.0

    def bound(self, settings: Any) -> tuple[Task, Any]:
        task, settings = super().bound(settings)
        assert isinstance(task, Classification)
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
        return tuple(sorted(found, key=_by_value) if is_whole else sorted(found))

    def _strata(self, rows: RawRows) -> Sequence[str]:
        return _names(rows)

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        codes = {name: code for code, name in enumerate(self.label_names)}
        names = _names(raw)
        for row, name in enumerate(names):
            if name not in codes:
                raise raw.error(
                    row,
                    f'label "{shortened(name)}" is not one of those that are learnt: {_listed(self.label_names)}',
                )
        return {**raw.columns, LABEL: [codes[name] for name in names]}


def _by_value(name: str) -> tuple[Decimal, str]:
    return Decimal(name), name


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


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(map(shortened, names[:_FEW])) + more


@dataclass(frozen=True, kw_only=True)
class Regression(OwnTask, SequenceRegression):
    """A number for each row, learnt as it is."""

    own_columns: ClassVar[tuple[str, str | None, str]] = ("text", "text_pair", LABEL)
    name: str = "regression"
    family: str = "regression"
    text_columns: tuple[str, ...] = ("text",)
    target_columns: tuple[str, ...] = (LABEL,)
    metric_names: tuple[str, ...] = ("pearson", "spearman")
    random_baseline: float = 0.0
    lowest_score: float = -math.inf
    highest_score: float = math.inf

    def bound(self, settings: Any) -> tuple[Task, Any]:
        task, settings = super().bound(settings)
        assert isinstance(task, Regression)
        return replace(task, text_columns=tuple(task._text_names)), settings

    def _checked(self, raw: RawRows) -> dict[str, list[Any]]:
        check_texts(raw, self.text_columns)
        return {**raw.columns, LABEL: shortest_float32(_scores(raw))}

    def _strata(self, rows: RawRows) -> Sequence[str]:
        """By tenths of the examples, from the lowest scores to the highest; of few by larger parts, for one of each is
        held out.
        """
        scores = _scores(rows)
        parts = max(1, min(10, int(self._told.eval_share * len(scores))))
        ranks = {row: rank for rank, row in enumerate(sorted(range(len(scores)), key=scores.__getitem__))}
        return [str(parts * ranks[row] // len(scores)) for row in range(len(scores))]


def _scores(rows: RawRows) -> list[float]:
    """Raises: UserError for a label that is no number."""
    scores = [_score(cell) for cell in rows.columns[LABEL]]
    for row, score in enumerate(scores):
        if score is None:
            raise rows.error(
                row, f"label {reprlib.repr(rows.columns[LABEL][row])} is not a number within ±{_LARGEST:g}"
            )
    return [score for score in scores if score is not None]


def _score(cell: Any) -> float | None:
    """The number that a cell is or spells; None where it is none, or not a finite one of float32."""
    try:
        score = float(cell) if isinstance(cell, int | float | str) and not isinstance(cell, bool) else math.nan
    except ValueError:
        return None
    return score if abs(score) <= _LARGEST else None
