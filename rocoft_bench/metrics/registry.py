"""All metrics by name. Importing this module loads `evaluate` and with it torch."""

from __future__ import annotations

from rocoft_bench.metrics import answers, classification, rouge, squad
from rocoft_bench.metrics.base import LocalMetric

METRICS: dict[str, type[LocalMetric]] = {
    **classification.METRICS,
    **rouge.METRICS,
    **squad.METRICS,
    **answers.METRICS,
}
