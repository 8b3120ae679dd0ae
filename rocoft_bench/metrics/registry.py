"""All metrics by name. Importing this module loads `evaluate` and with it torch."""

from __future__ import annotations

from rocoft_bench.metrics import answers, classification, rouge, squad_metrics
from rocoft_bench.metrics.local_metric import LocalMetric

METRICS: dict[str, type[LocalMetric]] = {
    **classification.METRICS,
    **rouge.METRICS,
    **squad_metrics.METRICS,
    **answers.METRICS,
}
