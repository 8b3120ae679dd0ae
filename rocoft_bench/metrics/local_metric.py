"""What the metrics share: subclasses of `evaluate.Metric` that need no network."""

from typing import Any, ClassVar

import evaluate
from datasets import Features


class LocalMetric(evaluate.Metric):
    """One or several scores, as fractions, from a column of predictions and a column of references.

    metric_name: by which a task names it. columns: the types of "predictions" and "references".
    """

    metric_name: ClassVar[str]
    columns: ClassVar[Features]

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(description=self.__doc__ or "", citation="", features=self.columns)

    def _compute(self, *, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        return self._scores(predictions, references)

    def _scores(self, predictions: list[Any], references: list[Any]) -> dict[str, float]:
        raise NotImplementedError
