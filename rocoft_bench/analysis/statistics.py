"""How sure a difference between two methods is over examples. Pure functions on numbers; nothing is read or written.

A metric is written as a function of means over rows, which makes a bootstrap one product of matrices: the weights of
the rows in each resample times what every row contributes. Weights are drawn once for all methods that were
evaluated on the same rows, so differences are paired.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
"""Enough for a standard error that is itself known to 1.6 % (1 / sqrt(2 * 2000)), and for the 2.5 % quantiles."""

SEED = 0
"""Of the resamples: equal records give equal reports."""

CONFIDENCE = 0.95

_WEIGHTS_AT_A_TIME = 1 << 22
"""Resampling weights that are held at once: 32 MiB of them."""

NO_VARIANCE = 1e-12
"""Of a column that was scaled to a variance of 1; what rounding leaves of a constant is smaller."""


@dataclass(frozen=True)
class MetricOfMeans:
    """A metric of one run on n evaluation rows.

    rows: (n, k), what each row contributes; of_means: the metric (...) from means (..., k) of the contributions.
    references: equal for runs that were scored by equal references.
    """

    rows: np.ndarray
    of_means: Callable[[np.ndarray], np.ndarray]
    references: bytes = b""

    @property
    def value(self) -> float:
        """The metric on the rows as they are."""
        return float(self.of_means(self.rows.mean(axis=0)))


@dataclass(frozen=True)
class Difference:
    """A difference of means over runs, its interval at `CONFIDENCE`, and a two-sided p-value, over examples."""

    value: float
    low: float
    high: float
    p: float


def mean(values: Sequence[float] | np.ndarray) -> MetricOfMeans:
    """A metric that is the mean of what rows score: accuracy, exact match, ROUGE."""
    return MetricOfMeans(_columns(values), lambda means: means[..., 0])


def ratio(numerators: Sequence[float] | np.ndarray, denominators: Sequence[float] | np.ndarray) -> MetricOfMeans:
    """A sum over rows by another one; 0 where the second is 0."""
    return MetricOfMeans(_columns(numerators, denominators), _quotient)


def binary_f1(predictions: Sequence[int] | np.ndarray, references: Sequence[int] | np.ndarray) -> MetricOfMeans:
    """F1 of label 1: twice the true positives by the predicted and the true ones; 0 where there are none of either."""
    positive, wanted = np.asarray(predictions) == 1, np.asarray(references) == 1
    return ratio(2.0 * (positive & wanted), positive.astype(float) + wanted)


def correlation(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> MetricOfMeans:
    """Pearson's correlation; of two columns of two labels, Matthews' coefficient. 0 where a column does not vary."""
    x, y = _standardized(x), _standardized(y)
    return MetricOfMeans(_columns(x, y, x * x, y * y, x * y), _pearson)


def rank_correlation(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> MetricOfMeans:
    """Spearman's correlation: Pearson's of the ranks, ties averaged.

    Resamples keep the ranks that rows have among all rows. To rank each resample anew would change a value only by what
    ties between copies of a row do, and take a sort for each.
    """
    from scipy.stats import rankdata

    return correlation(rankdata(x), rankdata(y))


def resampled(scores: Sequence[MetricOfMeans], resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Every run's metric on the same bootstrap resamples of the rows: (resamples, runs).

    scores: of runs on the same n rows. Equal n, resamples and seed draw equal rows.
    """
    table = np.concatenate([score.rows for score in scores], axis=1)
    means = np.concatenate([weights @ table for weights in _weights(len(table), resamples, seed)])
    ends = np.cumsum([score.rows.shape[1] for score in scores])
    parts = np.split(means, ends[:-1], axis=1)
    return np.stack([score.of_means(part) for score, part in zip(scores, parts, strict=True)], axis=1)


def paired_difference(value: float, ours: np.ndarray, theirs: np.ndarray) -> Difference:
    """How sure a difference is over examples.

    value: the difference on the rows as they are. ours, theirs: each metric on the same resamples, (resamples,), of a
    method's runs the mean.

    The interval is the percentile interval. The p-value is a normal test of value / standard error, the standard
    deviation of the resampled differences being the standard error (Efron and Tibshirani 1993, An Introduction to the
    Bootstrap, chapters 6 and 12). The share of resamples beyond 0 would be no smaller than 1 / resamples, which
    Holm's correction over the 170 comparisons of a large table never lets pass with fewer than 10,000 resamples; the
    standard error has no such floor. Where every resample gives the same, p is 1 for no difference and else 0.
    """
    differences = ours - theirs
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    error = float(differences.std(ddof=1))
    p = float(abs(value) < NO_VARIANCE) if error < NO_VARIANCE else math.erfc(abs(value) / error / math.sqrt(2))
    return Difference(value, float(low), float(high), p)


def _weights(rows: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Shares of the rows in resamples, (some, rows) at a time; each line sums to 1."""
    generator = np.random.default_rng(seed)
    at_a_time = max(1, _WEIGHTS_AT_A_TIME // rows)
    for start in range(0, resamples, at_a_time):
        number = min(at_a_time, resamples - start)
        drawn = generator.integers(0, rows, (number, rows))
        drawn += np.arange(number)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=number * rows).reshape(number, rows) / rows


def _columns(*columns: Sequence[float] | np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def _quotient(means: np.ndarray) -> np.ndarray:
    above, below = means[..., 0], means[..., 1]
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)


def _pearson(means: np.ndarray) -> np.ndarray:
    x, y, xx, yy, xy = np.moveaxis(means, -1, 0)
    x_variance, y_variance = xx - x * x, yy - y * y
    varies = (x_variance > NO_VARIANCE) & (y_variance > NO_VARIANCE)
    return np.where(varies, (xy - x * y) / np.sqrt(np.where(varies, x_variance * y_variance, 1.0)), 0.0)


def _standardized(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Of mean 0 and variance 1, so that sums of squares lose no digits; a constant becomes 0."""
    array = np.asarray(values, dtype=np.float64)
    centred = array - array.mean()
    spread = float(centred.std())
    return centred / spread if (array != array[0]).any() else np.zeros_like(array)
