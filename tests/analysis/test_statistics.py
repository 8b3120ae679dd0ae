"""Tests and ranks against slow direct computations, scipy and textbook numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, pearsonr, rankdata, ttest_1samp
from scipy.stats import t as student

from rocoft_bench.analysis import statistics
from rocoft_bench.analysis.seed_statistics import holm, welch_p
from rocoft_bench.analysis.statistics import MetricOfMeans, paired_difference, resampled
from rocoft_bench.metrics import compute

GENERATOR = np.random.default_rng(0)
LABELS = GENERATOR.integers(0, 2, 60)
GUESSES = np.where(GENERATOR.random(60) < 0.75, LABELS, 1 - LABELS)
OTHERS = np.where(GENERATOR.random(60) < 0.6, LABELS, 1 - LABELS)
SCORES = GENERATOR.normal(size=60).round(1)
RATINGS = (SCORES + GENERATOR.normal(size=60)).round(1)


def accuracy(predictions: np.ndarray, references: np.ndarray) -> MetricOfMeans:
    return statistics.mean(predictions == references)


METRICS: list[tuple[str, Callable[..., MetricOfMeans], np.ndarray, np.ndarray]] = [
    ("accuracy", accuracy, GUESSES, LABELS),
    ("f1", statistics.binary_f1, GUESSES, LABELS),
    ("matthews_correlation", statistics.correlation, GUESSES, LABELS),
    ("pearson", statistics.correlation, SCORES, RATINGS),
    ("spearman", statistics.rank_correlation, SCORES, RATINGS),
]


def drawn(rows: int, resamples: int, seed: int) -> list[np.ndarray]:
    """The rows of each resample, drawn as `resampled` draws them for so few rows."""
    return list(np.random.default_rng(seed).integers(0, rows, (resamples, rows)))


@pytest.mark.parametrize(("name", "score", "predictions", "references"), METRICS, ids=[m[0] for m in METRICS])
def test_the_value_on_the_rows_as_they_are_is_the_metrics(
    name: str, score: Callable[..., MetricOfMeans], predictions: np.ndarray, references: np.ndarray
) -> None:
    expected = compute([name], predictions.tolist(), references.tolist())[name]
    assert score(predictions, references).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("name", "score", "predictions", "references"), METRICS[:4], ids=[m[0] for m in METRICS[:4]])
def test_resamples_are_the_metric_of_resampled_rows(
    name: str, score: Callable[..., MetricOfMeans], predictions: np.ndarray, references: np.ndarray
) -> None:
    found = resampled([score(predictions, references)], resamples=30, seed=3)
    rows = drawn(60, 30, 3)
    expected = [compute([name], predictions[i].tolist(), references[i].tolist())[name] for i in rows]
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-12)


def test_resamples_of_spearman_keep_the_ranks_of_all_rows() -> None:
    found = resampled([statistics.rank_correlation(SCORES, RATINGS)], resamples=30, seed=3)
    x, y = rankdata(SCORES), rankdata(RATINGS)
    expected = [pearsonr(x[i], y[i]).statistic for i in drawn(60, 30, 3)]
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-12)


def test_all_runs_are_judged_on_the_same_resamples_and_the_chunks_do_not_matter(monkeypatch: Any) -> None:
    scores = [accuracy(GUESSES, LABELS), statistics.correlation(SCORES, RATINGS), accuracy(OTHERS, LABELS)]
    together = resampled(scores, resamples=50, seed=1)
    np.testing.assert_allclose(together[:, [0]], resampled(scores[:1], resamples=50, seed=1))
    np.testing.assert_allclose(together[:, [2]], resampled(scores[2:], resamples=50, seed=1))
    monkeypatch.setattr(statistics, "_WEIGHTS_AT_A_TIME", 60 * 7)
    np.testing.assert_allclose(resampled(scores, resamples=50, seed=1), together)


@pytest.mark.parametrize("constant", [np.zeros(30), np.full(30, 0.1)])
def test_metrics_without_a_value_are_zero_as_everywhere_here(constant: np.ndarray) -> None:
    assert statistics.correlation(constant, np.arange(30)).value == 0.0
    assert statistics.rank_correlation(np.arange(30), constant).value == 0.0
    assert statistics.binary_f1(np.zeros(30), np.zeros(30)).value == 0.0
    assert (resampled([statistics.correlation(constant, np.arange(30))], 20) == 0.0).all()


def test_a_paired_difference_is_as_sure_as_the_exact_standard_error_says() -> None:
    """For means the bootstrap's standard error is known: the rows' standard deviation / sqrt(n)."""
    generator = np.random.default_rng(5)
    ours, theirs = generator.random(400) < 0.8, generator.random(400) < 0.7
    samples = resampled([statistics.mean(ours), statistics.mean(theirs)], resamples=4000)
    value = float(ours.mean() - theirs.mean())
    found = paired_difference(value, samples[:, 0], samples[:, 1])
    error = np.std(ours.astype(float) - theirs) / np.sqrt(400)
    assert found.value == value
    assert found.p == pytest.approx(2 * norm.sf(value / error), rel=0.15)
    assert found.low == pytest.approx(value - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(value + 1.96 * error, abs=0.1 * error)


@pytest.mark.parametrize(("value", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_a_difference_that_no_resample_changes(value: float, p: float) -> None:
    found = paired_difference(value, np.full(50, value), np.zeros(50))
    assert (found.low, found.high, found.p) == (value, value, p)


def test_welch_is_the_textbooks() -> None:
    ours, theirs = [81.2, 80.4, 82.0], [79.1, 80.2, 78.8, 79.9, 80.0]
    squares = [np.var(values, ddof=1) / len(values) for values in (ours, theirs)]
    freedom = sum(squares) ** 2 / (squares[0] ** 2 / 2 + squares[1] ** 2 / 4)
    expected = 2 * student.sf((np.mean(ours) - np.mean(theirs)) / np.sqrt(sum(squares)), freedom)
    assert welch_p(ours, theirs) == pytest.approx(expected, rel=1e-12)
    without_spread = ttest_1samp(theirs, 81.0).pvalue
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a user would see it
        assert welch_p([81.0, 81.0], theirs) == pytest.approx(without_spread, rel=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [([1.0], [2.0, 3.0], None), ([1.0, 2.0], [], None), ([2.0, 2.0], [2.0, 2.0], 1.0), ([2.0, 2.0], [1.0, 1.0], None)],
)
def test_welch_where_there_is_no_spread(ours: Sequence[float], theirs: Sequence[float], p: float | None) -> None:
    assert welch_p(ours, theirs) == p


def test_holm_is_the_textbooks() -> None:
    """Holm (1979), with p-values 0.01, 0.04, 0.03, 0.005: 4 × 0.005, 3 × 0.01, 2 × 0.03, then no smaller than that."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([None, 0.04, None, 0.02]) == [None, 0.04, None, 0.04]
    assert holm([]) == []
