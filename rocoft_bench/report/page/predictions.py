"""Predictions as the page shows them: short, scored, and told apart by the examples that they answer."""

import json
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from rocoft_bench import tasks
from rocoft_bench.analysis.records import Run
from rocoft_bench.errors import UserError
from rocoft_bench.metrics import formulas

MAX_EXAMPLES = 1000
MAX_CHARACTERS = 500
"""Of a text; the rest of it is cut off."""


class Rule(NamedTuple):
    """When an answer is right, as the task's metric counts. text: the same as a sentence for readers."""

    is_right: Callable[[Any, Any], bool]
    text: str


SAME = Rule(operator.eq, "Right: the prediction equals the reference.")
EXACT_MATCH = "Right: the prediction is one of the reference answers, but for case, punctuation and articles."

RULES = {
    "accuracy": SAME,
    "matthews_correlation": SAME,
    "f1": SAME,
    "choice_answers": Rule(formulas.is_right_choice, "Right: the answer that could be read equals the reference."),
    "number_answers": Rule(
        formulas.is_right_number, f"Right: a number at most {formulas.TOLERANCE} from the reference."
    ),
    "squad": Rule(lambda given, wanted: formulas.squad(given, wanted)[0] == 1, EXACT_MATCH),
    "squad_v2": Rule(lambda given, wanted: formulas.squad_v2(given, wanted)[0] == 1, EXACT_MATCH),
}
"""By what scores a task; the answers of other tasks are scored by degree."""

PUBLISHED = Rule(
    lambda given, _: given is not None and formulas.is_right_choice(given["read"], given["gold"]),
    "Right: the answer that could be read equals what the published protocol reads from the right response.",
)


@dataclass(frozen=True)
class Predictions:
    """Of one run, as plain values.

    examples: what it has in common with other runs on them: task, data (a hash of all its examples), rule (None where
        answers are scored by degree), and the index and the reference of each example.
    answers: values (the predictions), texts (what the model said, where that was kept), right ("1" or "0" for each
        example; None without a rule), left_out (how many examples of the run are not here; None if that is unknown).
    """

    examples: dict[str, Any]
    answers: dict[str, Any]


def predictions_of(run: Run) -> Predictions | None:
    """The run's first `MAX_EXAMPLES` predictions; None if it has none that can be read."""
    lines = run.predictions(MAX_EXAMPLES + 1)
    shown, record = lines[:MAX_EXAMPLES], run.record
    try:
        predictions = [line["prediction"] for line in shown]
        references = [line["reference"] for line in shown]
        indices = [line.get("index", place) for place, line in enumerate(shown)]
        texts = [line.get("text") for line in shown]
    except (TypeError, KeyError, AttributeError):
        return None
    rule, right = _scored(record.task, predictions, references)
    examples = {
        "task": f"{record.task['family']} {record.task['name']}",
        "data": (record.data.get("evaluation") or {}).get("sha256"),
        "rule": rule,
        "index": indices,
        "reference": _short(run.named(references)),
    }
    answers = {
        "values": _short(run.named(predictions)),
        "texts": _short(texts) if any(texts) else None,
        "right": right,
        "left_out": _left_out(run, len(lines)),
    }
    return Predictions(examples, answers) if lines else None


def _scored(task: dict[str, Any], predictions: list[Any], references: list[Any]) -> tuple[str | None, str | None]:
    """The rule in words and what it says of each example; None and None where there is no rule, or it does not fit."""
    try:
        rule = RULES.get(tasks.get(task["family"], task["name"]).scored_by)
    except UserError:
        rule = None
    if rule is None:
        return None, None
    rule = PUBLISHED if any(isinstance(prediction, dict) for prediction in predictions) else rule
    try:
        return rule.text, "".join("01"[rule.is_right(*row)] for row in zip(predictions, references, strict=True))
    except (TypeError, ValueError, KeyError, AttributeError):
        return None, None


def _left_out(run: Run, read: int) -> int | None:
    if read <= MAX_EXAMPLES:
        return 0
    total = run.record.data.get("eval_rows")
    return total - MAX_EXAMPLES if isinstance(total, int) and total > MAX_EXAMPLES else None


def _short(values: list[Any]) -> list[Any]:
    """The values, fit to be shown: those that are neither numbers nor texts become texts, and long texts are cut."""
    return [value if value is None or isinstance(value, (int, float)) else _text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, dict):
        text = str(value["read"]) if "read" in value else json.dumps(value)
    else:
        text = " | ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "…"
