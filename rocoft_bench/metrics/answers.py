"""Accuracy of answers that were read out of text, and the share of texts that no answer could be read from.

As LLM-Adapters counts (`commonsense_evaluate.py` and `evaluate.py` of AGI-Edgerunners/LLM-Adapters): a text without a
readable answer is a wrong answer.
"""

from __future__ import annotations

from typing import Any, ClassVar

from datasets import Features, Value

from rocoft_bench.metrics.base import LocalMetric

TOLERANCE = 1e-3
"""How far a number may be from the right one."""


class _AnswerMetric(LocalMetric):
    """accuracy, then unparsed: both are shares of all rows.

    unread: the prediction of a text that no answer could be read from.
    """

    unread: ClassVar[Any]

    def _scores(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        pairs = list(zip(predictions, references, strict=True))
        right = sum(given != self.unread and self._right(given, wanted) for given, wanted in pairs)
        return {"accuracy": right / len(pairs), "unparsed": predictions.count(self.unread) / len(pairs)}

    def _right(self, given: Any, wanted: Any) -> bool:
        raise NotImplementedError


class ChoiceAnswers(_AnswerMetric):
    """Equal strings are right answers. (`evaluate` takes no None among strings.)"""

    unread: ClassVar[Any] = ""
    columns = Features({"predictions": Value("string"), "references": Value("string")})

    def _right(self, given: str, wanted: str) -> bool:
        return given == wanted


class NumberAnswers(_AnswerMetric):
    """Numbers that differ by at most `TOLERANCE` are right answers."""

    unread: ClassVar[Any] = None
    columns = Features({"predictions": Value("float64"), "references": Value("float64")})

    def _right(self, given: float, wanted: float) -> bool:
        return abs(given - wanted) <= TOLERANCE


METRICS: dict[str, type[LocalMetric]] = {"choice_answers": ChoiceAnswers, "number_answers": NumberAnswers}
