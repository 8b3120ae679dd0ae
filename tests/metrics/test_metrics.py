"""Metrics against scikit-learn and scipy, where a formula is undefined, and that they leave nothing behind."""

import math
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from rocoft_bench.errors import UserError
from rocoft_bench.metrics import classification, compute

LABEL_METRICS = ["accuracy", "f1", "matthews_correlation"]
SCORE_METRICS = ["pearson", "spearman"]
METRICS = {metric.metric_name: metric for metric in classification.METRICS}
REFERENCE = {
    "accuracy": lambda p, r: sk.accuracy_score(r, p),
    "f1": lambda p, r: sk.f1_score(r, p),
    "matthews_correlation": lambda p, r: sk.matthews_corrcoef(r, p),
    "pearson": lambda p, r: stats.pearsonr(p, r).statistic,
    "spearman": lambda p, r: stats.spearmanr(p, r).statistic,
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", LABEL_METRICS)
def test_label_metrics_equal_scikit_learn(name: str, seed: int) -> None:
    predictions, references = np.random.default_rng(seed).integers(0, 2, size=(2, 300))
    assert compute([name], predictions, references)[name] == pytest.approx(
        REFERENCE[name](predictions, references), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SCORE_METRICS)
def test_correlations_equal_scipy(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    references = rng.uniform(0, 5, 300).round(1)
    predictions = references + rng.normal(0, 1 + seed, 300)
    assert compute([name], predictions, references)[name] == pytest.approx(
        REFERENCE[name](predictions, references), abs=1e-12
    )


def test_accuracy_of_three_labels() -> None:
    assert compute(["accuracy"], [0, 1, 2, 2, 0], [0, 2, 2, 1, 0]) == {"accuracy": 3 / 5}


def test_f1_counts_label_one_as_the_positive_label() -> None:
    assert compute(["f1"], [1, 1, 0, 0], [1, 0, 0, 0])["f1"] == pytest.approx(2 / 3)


def test_values_come_in_the_order_asked_for_and_as_plain_floats() -> None:
    scores = compute(["f1", "accuracy"], [1, 1], [1, 1])
    assert list(scores.items()) == [("f1", 1.0), ("accuracy", 1.0)]
    assert all(type(value) is float for value in scores.values())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("references", [[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
@pytest.mark.parametrize("prediction", [0, 1])
def test_constant_predictions_score_zero_without_a_warning(prediction: int, references: list[int]) -> None:
    names = ["matthews_correlation", "pearson", "spearman"]
    assert compute(names, [prediction] * 4, references) == dict.fromkeys(names, 0.0)


@pytest.mark.filterwarnings("error")
def test_f1_without_any_positive_is_zero_without_a_warning() -> None:
    assert compute(["f1"], [0, 0], [0, 0]) == {"f1": 0.0}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=20))
@pytest.mark.filterwarnings("ignore:An input array is nearly constant")
def test_correlations_are_never_nan_and_stay_in_range(pairs: list[tuple[float, float]]) -> None:
    predictions, references = zip(*pairs, strict=True)
    for value in compute(SCORE_METRICS, predictions, references).values():
        assert math.isfinite(value)
        assert -1 - 1e-9 <= value <= 1 + 1e-9


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_label_metrics_do_not_depend_on_the_order_of_rows(pairs: list[tuple[int, int]]) -> None:
    forward = compute(LABEL_METRICS, *zip(*pairs, strict=True))
    backward = compute(LABEL_METRICS, *zip(*reversed(pairs), strict=True))
    assert forward == pytest.approx(backward, abs=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", METRICS)
def test_predictions_that_are_not_finite_are_an_error(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match="1 of 3 values are not finite"):
        compute([name], [0.0, bad, 1.0], [0, 1, 1])


@pytest.mark.parametrize("name", LABEL_METRICS)
def test_label_metrics_refuse_scores(name: str) -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        compute([name], [0.7, 1.0], [0, 1])


@pytest.mark.parametrize(("predictions", "references"), [([], []), ([1], [1, 0]), ([1, 0], [1])])
def test_no_rows_and_unequal_lengths_are_errors(predictions: list[int], references: list[int]) -> None:
    with pytest.raises(ValueError, match="predictions for"):
        compute(["accuracy"], predictions, references)


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown metric 'acuracy'; did you mean \"accuracy\""):
        compute(["acuracy"], [1], [1])


def test_metrics_are_evaluate_metrics_named_as_asked_for(tmp_path) -> None:
    for name, metric in METRICS.items():
        instance = metric(keep_in_memory=True, cache_dir=str(tmp_path))
        assert isinstance(instance, evaluate.Metric)
        assert instance.name == name
        assert any(library in instance.description for library in ("sklearn.", "scipy."))


def test_nothing_is_left_in_the_cache_or_the_temporary_folder(tmp_path, monkeypatch) -> None:
    cache, temporary = tmp_path / "cache", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", cache)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    compute(list(METRICS), [1, 0, 1], [1, 0, 0])
    assert not cache.exists()
    assert list(temporary.iterdir()) == []


def test_runs_at_the_same_time_do_not_disturb_each_other() -> None:
    def score(ones: int) -> float:
        return compute(["accuracy"], [1] * 64, [1] * ones + [0] * (64 - ones))["accuracy"]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(score, range(64))) == [ones / 64 for ones in range(64)]


def test_random_state_of_numpy_is_untouched() -> None:
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    compute(list(METRICS), [1, 0, 1], [1, 0, 0])
    assert np.random.random(3).tolist() == expected.tolist()


def test_importing_the_package_stays_light() -> None:
    code = "import sys, rocoft_bench.metrics; print({'torch', 'evaluate', 'sklearn', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
