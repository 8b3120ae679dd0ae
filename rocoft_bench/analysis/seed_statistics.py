"""What the results of two methods' seeds say: how large the difference is, whether it is smaller than a margin, and how
many seeds would tell. Pure functions on numbers, at `CONFIDENCE`.
"""

import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rocoft_bench.analysis.statistics import CONFIDENCE, NO_VARIANCE, RESAMPLES, SEED

MARGIN = 1.0
"""Percentage points within which methods count as equivalent, where no other margin is stated."""

POWER = 0.8
MOST_SEEDS = 10_000
"""More are not looked for."""


@dataclass(frozen=True)
class SeedDifference:
    """The difference of two means over seeds (ours - theirs) with Welch's interval, and what goes with it.

    effect: Hedges' g, the difference in pooled standard deviations, and its interval.
    p_equivalent: that the difference is as large as the margin, in either direction (two one-sided Welch tests).
    seeds_to_equivalence, seeds_to_difference: seeds of each method with which equivalence would be shown if there were
    no difference, or a difference of this size, with a probability of `POWER`; None above `MOST_SEEDS`.
    """

    low_seeds: float
    high_seeds: float
    effect: float
    effect_low: float
    effect_high: float
    p_equivalent: float
    seeds_to_equivalence: int | None
    seeds_to_difference: int | None


@dataclass(frozen=True)
class RankSummary:
    """The mean rank of a method over tasks, its interval over resampled seeds, and how often it is the best of all."""

    mean: float
    low: float
    high: float
    best: float


def welch_p(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Two-sided p-value of Welch's t test (1947) between the results of two methods' seeds.

    None where a method has fewer than two, or where none of them vary and yet differ: then nothing is known of the
    spread that the test compares the difference with. 1 where all are equal.
    """
    from scipy.stats import ttest_ind

    if min(len(ours), len(theirs)) < 2:
        return None
    if max(np.std(ours), np.std(theirs)) < NO_VARIANCE:
        return 1.0 if abs(np.mean(ours) - np.mean(theirs)) < NO_VARIANCE else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of precision, where one method's seeds are all equal
        return float(ttest_ind(ours, theirs, equal_var=False).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values corrected for their number by Holm's step-down method (1979); None stays None and does not count."""
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for done, (p, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - done) * p))
        corrected[place] = largest
    return corrected


def seed_difference(ours: Sequence[float], theirs: Sequence[float], margin: float = MARGIN) -> SeedDifference | None:
    """None where a method has fewer than two results, or where none vary: then nothing is known of the spread."""
    if min(len(ours), len(theirs)) < 2 or max(np.ptp(ours), np.ptp(theirs)) == 0:
        return None
    deviations = float(np.std(ours, ddof=1)), float(np.std(theirs, ddof=1))
    difference = float(np.mean(ours) - np.mean(theirs))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of precision, where one method's seeds are all equal
        return SeedDifference(
            *welch_interval(ours, theirs),
            *hedges_g(ours, theirs),
            tost_p(ours, theirs, margin),
            seeds_needed(lambda seeds: equivalence_power(seeds, deviations, margin)),
            seeds_needed(lambda seeds: difference_power(seeds, deviations, difference)),
        )


def welch_interval(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Of the difference of means, without equal variances."""
    from scipy.stats import ttest_ind

    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high)


def tost_p(ours: Sequence[float], theirs: Sequence[float], margin: float) -> float:
    """p-value of two one-sided tests (Schuirmann 1987), each Welch's: the larger of that of a difference of -margin or
    less, and that of margin or more.
    """
    from scipy.stats import ttest_ind

    shifted = np.asarray(ours, dtype=float)
    above = ttest_ind(shifted + margin, theirs, equal_var=False, alternative="greater").pvalue
    below = ttest_ind(shifted - margin, theirs, equal_var=False, alternative="less").pvalue
    return float(max(above, below))


def hedges_g(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Hedges' g (1981) and its interval, from the noncentral t distribution (Cumming and Finch 2001). It takes equal
    variances for granted.
    """
    from scipy.optimize import brentq
    from scipy.special import gammaln
    from scipy.stats import nct

    sizes, freedom = (len(ours), len(theirs)), len(ours) + len(theirs) - 2
    pooled = math.sqrt(
        sum((n - 1) * float(np.var(one, ddof=1)) for n, one in zip(sizes, (ours, theirs), strict=True)) / freedom
    )
    scale = math.sqrt(1 / sizes[0] + 1 / sizes[1])
    t = float(np.mean(ours) - np.mean(theirs)) / (pooled * scale)
    unbiased = math.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / math.sqrt(freedom / 2)
    tail = (1 - CONFIDENCE) / 2
    reach = 6 + 1.2 * abs(t)  # with two degrees of freedom the upper end is 1.9 t

    def below(center: float) -> float:
        found = float(nct.cdf(t, freedom, center))
        return found if math.isfinite(found) else float(center < t)  # far out in a tail scipy gives no number

    def noncentrality(probability: float) -> float:
        return float(brentq(lambda center: below(center) - probability, t - reach, t + reach))

    return unbiased * scale * t, scale * noncentrality(1 - tail), scale * noncentrality(tail)


def equivalence_power(seeds: int, deviations: tuple[float, float], margin: float) -> float:
    """Probability that `tost_p` is below 1 - `CONFIDENCE` where there is no difference, by a noncentral t
    distribution, which is a little low where it is small.
    """
    error, freedom = _error(seeds, deviations)
    return max(0.0, 2 * _beyond(1 - CONFIDENCE, freedom, margin / error) - 1)


def difference_power(seeds: int, deviations: tuple[float, float], difference: float) -> float:
    """Probability that Welch's two-sided p-value is below 1 - `CONFIDENCE` where there is such a difference."""
    error, freedom = _error(seeds, deviations)
    tail, center = (1 - CONFIDENCE) / 2, abs(difference) / error
    return _beyond(tail, freedom, center) + _beyond(tail, freedom, -center)


def seeds_needed(power: Callable[[int], float]) -> int | None:
    """The fewest seeds of each method that have a `power` of `POWER`; None above `MOST_SEEDS`."""
    ends = [2**doublings for doublings in range(MOST_SEEDS.bit_length())] + [MOST_SEEDS]
    for low, high in pairwise(ends):
        if power(high) >= POWER:
            return bisect_left(range(high), POWER, lo=low + 1, key=power)
    return None


def rank_summaries(values: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, RankSummary]:
    """Ranks over the same tasks, 1 for the best, if other seeds had been drawn: each cell's runs are resampled, the
    tasks are not. Methods that share the best mean rank share the count.

    values: for each method the results of its runs, by task.
    """
    from scipy.stats import rankdata

    generator = np.random.default_rng(SEED)
    means = np.array(
        [[generator.choice(runs, (RESAMPLES, len(runs))).mean(axis=1) for runs in tasks] for tasks in values.values()]
    )
    ranks = rankdata(-means, axis=0).mean(axis=1)  # (methods, resamples)
    now = rankdata([[-np.mean(runs) for runs in tasks] for tasks in values.values()], axis=0).mean(axis=1)
    is_best = ranks == ranks.min(axis=0)
    best = (is_best / is_best.sum(axis=0)).mean(axis=1)
    low, high = np.quantile(ranks, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
    return {name: RankSummary(*map(float, found)) for name, *found in zip(values, now, low, high, best, strict=True)}


def _error(seeds: int, deviations: tuple[float, float]) -> tuple[float, float]:
    """The standard error of a difference between means over so many seeds, and Welch's degrees of freedom."""
    ours, theirs = (deviation**2 for deviation in deviations)
    return math.sqrt((ours + theirs) / seeds), (seeds - 1) * (ours + theirs) ** 2 / (ours**2 + theirs**2)


def _beyond(tail: float, freedom: float, center: float) -> float:
    """How likely t is beyond its critical value where the truth is `center` standard errors away."""
    from scipy.stats import nct, t

    critical = t.isf(tail, freedom)
    found = float(nct.sf(critical, freedom, center))
    return found if math.isfinite(found) else float(center > critical)  # as above
