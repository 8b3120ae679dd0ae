"""Metrics, computed locally: no script is downloaded and nothing is left in a cache.

This module is light; scikit-learn, scipy and `evaluate` (which imports torch) are loaded when `compute` is called.
"""

import tempfile
from collections.abc import Sequence
from typing import Any


def compute(names: Sequence[str], predictions: Sequence[Any], references: Sequence[Any]) -> dict[str, float]:
    """Score `predictions` against `references`, both of length n, with each metric in `names`.

    The values are fractions in [-1, 1], never percent, in the order of `names`; a metric may give several.

    Raises: UserError for a name that is not a metric; ValueError for no examples, unequal lengths, numbers that are not
    finite, or that are not whole where a metric compares labels.

    >>> compute(["accuracy"], [1, 0, 1, 1], [1, 0, 0, 1])
    {'accuracy': 0.75}
    """
    from rocoft_bench.metrics.by_name import METRICS

    metrics = [METRICS.find(name) for name in names]
    if not len(predictions) or len(predictions) != len(references):
        raise ValueError(f"{len(predictions)} predictions for {len(references)} references; need equally many, not 0")
    scores: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="rocoft-metrics-") as scratch:
        for metric in metrics:
            computed = metric(keep_in_memory=True, cache_dir=scratch)
            scores |= computed.compute(predictions=predictions, references=references)
    return scores
