"""All metrics by name. Importing this module loads `evaluate` and with it torch."""

from typing import Any

from rocoft_bench.metrics import classification, text_metrics
from rocoft_bench.metrics.local_metric import LocalMetric
from rocoft_bench.plugins import Registry


def _problem_of(metric: Any) -> str | None:
    """What keeps something of a plug-in from being a metric."""
    if not (isinstance(metric, type) and issubclass(metric, LocalMetric)):
        return "a subclass of LocalMetric is wanted"
    lacking = [name for name in ("metric_name", "columns") if not hasattr(metric, name)]
    return f"it lacks {', '.join(lacking)}" if lacking else None


METRICS: Registry[type[LocalMetric]] = Registry(
    "metric",
    "rocoft.metrics",
    lambda metric: metric.metric_name,
    [metric for module in (classification, text_metrics) for metric in module.METRICS],
    _problem_of,
)
