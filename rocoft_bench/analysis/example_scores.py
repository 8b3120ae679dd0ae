"""What each evaluation row adds to a run's main metric, from predictions.jsonl."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rocoft_bench import tasks
from rocoft_bench.analysis import statistics
from rocoft_bench.analysis.records import Run
from rocoft_bench.analysis.statistics import MetricOfMeans
from rocoft_bench.errors import UserError
from rocoft_bench.metrics import formulas

_NUMBERS = re.compile(rb'\{"index": (\d+), "prediction": (-?\d[^,]*), "reference": (-?\d[^,}]*)[,}]')
"""A line whose prediction and reference are numbers. It reads labels five times as fast as a JSON parser, which also
has to read the scores of every class."""

_CLOSE = 1e-6
"""How near the metric of the predictions has to be to the one of the record."""


def example_scores(run: Run) -> MetricOfMeans:
    """The main metric of a run that has metrics, row by row.

    Raises: UserError if they cannot be told from its predictions; why, in a few words.
    """
    record = run.record
    metric = record.task["metric_names"][0]
    score = SCORES.get(tasks.get(record.task["family"], record.task["name"]).scored_by)
    if score is None:
        raise UserError(f"{metric} is not known as a function of means over rows")
    predictions, references = _columns(run)
    try:
        scores = score(predictions, references)
        value = scores.value
    except (TypeError, ValueError, AttributeError, KeyError):
        raise UserError(f"predictions.jsonl holds what {metric} does not take") from None
    stated = (record.metrics or {}).get(metric)
    if stated is None or not abs(value - stated) <= _CLOSE:
        shown = "none" if stated is None else f"{100 * stated:.2f}"
        raise UserError(f"predictions.jsonl gives {metric} {100 * value:.2f}, the record {shown}")
    content = json.dumps(references).encode() if isinstance(references, list) else references.tobytes()
    return replace(scores, references=hashlib.sha256(content).digest())


def _columns(run: Run) -> tuple[Any, Any]:
    """Predictions and references of all evaluation rows, in order."""
    try:
        text = run.directory.predictions.read_bytes()
    except OSError:
        raise UserError("no predictions.jsonl") from None
    indices, predictions, references = _numeric_columns(text) or _parsed_columns(run)
    expected = run.record.data.get("eval_rows", len(indices))
    if indices != list(range(expected)):
        raise UserError(f"predictions.jsonl holds {len(indices)} of {expected} rows, or not in order")
    return predictions, references


def _numeric_columns(text: bytes) -> list[Any] | None:
    """None where any row is not of numbers alone."""
    found = _NUMBERS.findall(text)
    if not found or len(found) != text.count(b"\n"):
        return None
    indices, *columns = zip(*found, strict=True)
    try:
        return [list(map(int, indices)), *(np.fromiter(map(float, column), float) for column in columns)]
    except ValueError:
        return None


def _parsed_columns(run: Run) -> list[Any]:
    try:
        rows = run.predictions()
        columns = [[row[name] for row in rows] for name in ("index", "prediction", "reference")]
    except (KeyError, TypeError):
        columns = [[]]
    if not columns[0]:
        raise UserError("predictions.jsonl is damaged")
    return columns


def _accuracy(predictions: Any, references: Any) -> MetricOfMeans:
    return statistics.mean(np.asarray(predictions, dtype=np.float64) == np.asarray(references, dtype=np.float64))


def _mean_of(score: Callable[[Any, Any], float]) -> Callable[[Any, Any], MetricOfMeans]:
    def of_examples(predictions: Any, references: Any) -> MetricOfMeans:
        return statistics.mean([float(score(*row)) for row in zip(predictions, references, strict=True)])

    return of_examples


def _answers(is_right: Callable[[Any, Any], bool]) -> Callable[[Any, Any], MetricOfMeans]:
    """Shares of right answers; in the protocol "published" of the rows alone that an answer could be read from."""

    def of_examples(predictions: Any, references: Any) -> MetricOfMeans:
        if not any(isinstance(given, dict) for given in predictions):
            return _mean_of(is_right)(predictions, references)
        right = [given is not None and formulas.is_right_choice(given["read"], given["gold"]) for given in predictions]
        return statistics.ratio(right, [given is not None for given in predictions])

    return of_examples


def _rouge1(predictions: Any, references: Any) -> MetricOfMeans:
    score = formulas.rouge(("rouge1",))
    return _mean_of(lambda given, wanted: score(given, wanted)["rouge1"])(predictions, references)


SCORES: dict[str, Callable[[Any, Any], MetricOfMeans]] = {
    "accuracy": _accuracy,
    "f1": statistics.binary_f1,
    "matthews_correlation": statistics.correlation,
    "pearson": statistics.correlation,
    "spearman": statistics.rank_correlation,
    "squad": _mean_of(lambda given, golds: formulas.squad(given, golds)[0]),
    "squad_v2": _mean_of(lambda given, golds: formulas.squad_v2(given, golds)[0]),
    "rouge": _rouge1,
    "choice_answers": _answers(formulas.is_right_choice),
    "number_answers": _answers(formulas.is_right_number),
}
"""By `Task.scored_by`: the first of its metrics, from a run's predictions and references."""
