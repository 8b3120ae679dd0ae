"""Accuracy of answers that were read out of text, and the share of texts that no answer could be read from.

As LLM-Adapters counts (`commonsense_evaluate.py` and `evaluate.py` of AGI-Edgerunners/LLM-Adapters): a text without a
readable answer is a wrong answer.
"""

from typing import Any, ClassVar

from datasets import Features, Value

from rocoft_bench.metrics import formulas
from rocoft_bench.metrics.local_metric import LocalMetric


class _AnswerMetric(LocalMetric):
    """accuracy, then unparsed: both are shares of all examples.

    unread: the prediction of a text that no answer could be read from.
    """

    unread: ClassVar[Any]

    def _scores(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        right = sum(map(self._is_right, predictions, references))
        return {"accuracy": right / len(predictions), "unparsed": predictions.count(self.unread) / len(predictions)}

    def _is_right(self, given: Any, wanted: Any) -> bool:
        raise NotImplementedError


class ChoiceAnswers(_AnswerMetric):
    """Equal strings are right answers. (`evaluate` takes no None among strings.)"""

    metric_name = "choice_answers"
    unread: ClassVar[Any] = ""
    columns = Features({"predictions": Value("string"), "references": Value("string")})

    def _is_right(self, given: str, wanted: str) -> bool:
        return formulas.is_right_choice(given, wanted)


class NumberAnswers(_AnswerMetric):
    """Numbers that differ by at most `formulas.TOLERANCE` are right answers."""

    metric_name = "number_answers"
    unread: ClassVar[Any] = None
    columns = Features({"predictions": Value("float64"), "references": Value("float64")})

    def _is_right(self, given: float | None, wanted: float) -> bool:
        return formulas.is_right_number(given, wanted)


METRICS: tuple[type[LocalMetric], ...] = (ChoiceAnswers, NumberAnswers)
