"""Intervals, equivalence, effect sizes and power, against direct simulation and against what they are defined by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_ind

from rocoft_bench.analysis.seed_statistics import (
    MOST_SEEDS,
    difference_power,
    equivalence_power,
    hedges_g,
    rank_summaries,
    seed_difference,
    seeds_needed,
    tost_p,
    welch_interval,
)

OURS, THEIRS = [80.2, 79.4, 81.0, 80.1, 79.9], [79.8, 80.6, 79.1, 80.4, 80.2]
SIMULATIONS = 1000
TOLERANCE = 0.04
"""Three standard errors of a share of 0.8 among so many simulations."""


def share(difference: float, deviations: tuple[float, float], seeds: int, holds: Callable[..., bool]) -> float:
    """How often something holds of two samples."""
    generator = np.random.default_rng(0)
    drawn = generator.standard_normal((SIMULATIONS, 2, seeds)) * np.reshape(deviations, (2, 1))
    drawn[:, 0] += difference
    return float(np.mean([holds(ours, theirs) for ours, theirs in drawn]))


def test_tost_is_what_the_90_percent_interval_says() -> None:
    """The margin at which p is 0.05 is the end of the 90 % interval that is further from 0."""
    interval = ttest_ind(OURS, THEIRS, equal_var=False).confidence_interval(0.9)
    margin = max(-interval.low, interval.high)
    assert tost_p(OURS, THEIRS, margin) == pytest.approx(0.05)
    assert tost_p(THEIRS, OURS, margin) == pytest.approx(0.05)
    assert tost_p(OURS, THEIRS, 1.1 * margin) < 0.05 < tost_p(OURS, THEIRS, 0.9 * margin)


def test_tost_by_its_definition() -> None:
    variances = [np.var(one, ddof=1) / 5 for one in (OURS, THEIRS)]
    error, freedom = np.sqrt(sum(variances)), sum(variances) ** 2 / sum(v**2 / 4 for v in variances)
    difference = np.mean(OURS) - np.mean(THEIRS)
    expected = max(student.sf((difference + 1) / error, freedom), student.cdf((difference - 1) / error, freedom))
    assert tost_p(OURS, THEIRS, 1.0) == pytest.approx(expected)


def test_tost_is_wrong_in_5_percent_at_the_margin() -> None:
    assert share(1.0, (0.5, 0.8), 5, lambda a, b: tost_p(a, b, 1.0) < 0.05) == pytest.approx(0.05, abs=0.02)


def test_intervals_hold_the_truth_in_95_percent() -> None:
    def in_interval(ours: np.ndarray, theirs: np.ndarray) -> bool:
        low, high = welch_interval(ours, theirs)
        return low < 0.7 < high

    assert share(0.7, (0.5, 1.0), 5, in_interval) == pytest.approx(0.95, abs=0.02)


def test_effect_sizes_are_unbiased_and_their_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(1)
    found = [hedges_g(generator.standard_normal(5) + 1.2, generator.standard_normal(6)) for _ in range(400)]
    assert np.mean([g for g, _, _ in found]) == pytest.approx(1.2, abs=0.1)
    assert np.mean([low < 1.2 < high for _, low, high in found]) == pytest.approx(0.95, abs=0.033)
    g, low, high = hedges_g(OURS, THEIRS)
    assert (-g, -high, -low) == pytest.approx(hedges_g(THEIRS, OURS))


@pytest.mark.parametrize(("deviations", "seeds"), [((0.5, 0.5), 6), ((0.4, 0.9), 10)])
def test_power_is_how_often_a_simulation_finds_it(deviations: tuple[float, float], seeds: int) -> None:
    equivalent = share(0.0, deviations, seeds, lambda a, b: tost_p(a, b, 1.0) < 0.05)
    assert equivalence_power(seeds, deviations, 1.0) == pytest.approx(equivalent, abs=TOLERANCE)
    differs = share(0.9, deviations, seeds, lambda a, b: ttest_ind(a, b, equal_var=False).pvalue < 0.05)
    assert difference_power(seeds, deviations, 0.9) == pytest.approx(differs, abs=TOLERANCE)


def test_seeds_needed_are_the_fewest_with_that_power() -> None:
    def power(seeds: int) -> float:
        return difference_power(seeds, (1.0, 1.0), 0.8)

    needed = seeds_needed(power)
    assert needed == 26  # two-sided t test, d = 0.8, 80 %: Cohen (1988), Table 2.4.1
    assert power(25) < 0.8 <= power(26)
    assert seeds_needed(lambda seeds: difference_power(seeds, (1.0, 1.0), 0.0)) is None


@pytest.mark.parametrize("needed", [2, 3, 8_193, MOST_SEEDS])
def test_seeds_are_looked_for_up_to_the_number_that_is_named(needed: int) -> None:
    assert seeds_needed(lambda seeds: float(seeds >= needed)) == needed
    assert seeds_needed(lambda seeds: float(seeds > MOST_SEEDS)) is None


def test_without_spread_nothing_is_said() -> None:
    assert seed_difference([80.0], THEIRS) is None
    assert seed_difference([80.0, 80.0], [79.0, 79.0]) is None
    found = seed_difference([80.0, 80.0, 80.0], THEIRS)
    assert found is not None
    assert found.low_seeds < np.mean([80.0]) - np.mean(THEIRS) < found.high_seeds


def test_ranks_of_resampled_seeds() -> None:
    values = {"a": [[90.0, 91.0], [70.0, 71.0]], "b": [[80.0, 81.0], [60.0, 61.0]], "c": [[90.0, 91.0], [50.0, 51.0]]}
    found = rank_summaries(values)
    assert (found["a"].mean, found["b"].mean, found["c"].mean) == (1.25, 2.5, 2.25)
    assert found["b"].low == found["b"].high == 2.5
    assert found["b"].best == 0
    assert found["a"].best + found["c"].best == pytest.approx(1)
    assert found["a"].best > 0.95  # it is never behind c on both tasks
