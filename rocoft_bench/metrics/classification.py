"""The metrics of GLUE, and macro-F1, as subclasses of `evaluate.Metric` that need no network.

`evaluate.load("glue")` fetches a script at run time and fails offline, so the same formulas stand here. Which task
uses which metric: Wang et al. 2019, "GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language
Understanding" (https://openreview.net/forum?id=rJ4km2R5t7), Table 1.

Where a formula divides by zero the score is 0.0, never NaN: a model that gives every row the same answer has learnt
nothing that these metrics could credit.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from datasets import Features, Value
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from rocoft_bench.metrics.local_metric import LocalMetric


class _NumberMetric(LocalMetric):
    """One number from two columns of n numbers. A subclass says how, and names the formula in its docstring."""

    columns = Features({"predictions": Value("float64"), "references": Value("float64")})

    def _scores(self, predictions: list[float], references: list[float]) -> dict[str, float]:
        return {self.metric_name: float(self._score(_finite(predictions), _finite(references)))}

    def _score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        raise NotImplementedError


class Accuracy(_NumberMetric):
    """Share of equal labels: `sklearn.metrics.accuracy_score`."""

    metric_name = "accuracy"

    def _score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return accuracy_score(_labels(references), _labels(predictions))


class F1(_NumberMetric):
    """F1 of label 1 among labels 0 and 1: `sklearn.metrics.f1_score(average="binary")`.

    0.0 where there is neither a predicted nor a true 1.
    """

    metric_name = "f1"

    def _score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return f1_score(_labels(references), _labels(predictions), average="binary", pos_label=1, zero_division=0.0)


class MacroF1(_NumberMetric):
    """Mean of the F1 of each label that is predicted or true: `sklearn.metrics.f1_score(average="macro")`."""

    metric_name = "macro_f1"

    def _score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return f1_score(_labels(references), _labels(predictions), average="macro", zero_division=0.0)


class MatthewsCorrelation(_NumberMetric):
    """Matthews correlation coefficient (CoLA): `sklearn.metrics.matthews_corrcoef`.

    0.0 where predictions or references are all the same label, as in scikit-learn.
    """

    metric_name = "matthews_correlation"

    def _score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return _unless_constant(matthews_corrcoef, _labels(references), _labels(predictions))


class Pearson(_NumberMetric):
    """Pearson correlation (STS-B): `scipy.stats.pearsonr`. Undefined for a constant input; 0.0 here."""

    metric_name = "pearson"

    def _score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return _unless_constant(lambda x, y: pearsonr(x, y).statistic, predictions, references)


class Spearman(_NumberMetric):
    """Spearman rank correlation (STS-B): `scipy.stats.spearmanr`. Undefined for a constant input; 0.0 here."""

    metric_name = "spearman"

    def _score(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return _unless_constant(lambda x, y: spearmanr(x, y).statistic, predictions, references)


METRICS: tuple[type[LocalMetric], ...] = (Accuracy, F1, MacroF1, MatthewsCorrelation, Pearson, Spearman)


def _unless_constant(correlation: Callable[..., float], x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of two columns of n values, or 0.0 where one of them does not vary."""
    if (x == x[0]).all() or (y == y[0]).all():
        return 0.0
    return correlation(x, y)


def _finite(values: Sequence[Any]) -> np.ndarray:
    """The values as a float64 array of shape (n,); a metric over NaN or infinity would mean nothing."""
    array = np.asarray(values, dtype=np.float64)
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise ValueError(f"{bad} of {array.size} values are not finite numbers")
    return array


def _labels(values: np.ndarray) -> np.ndarray:
    """The values as int64; a label metric must not round a score to the nearest label unasked."""
    labels = values.astype("int64")
    if (labels != values).any():
        raise ValueError("a label metric needs whole numbers")
    return labels
