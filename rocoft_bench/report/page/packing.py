"""What the page holds of each run beyond its tables: JSON, compressed in pieces that are unpacked when they are needed.

A piece is gzip in base64, so that nothing that came from a record is ever markup. Pieces, by name:
    index         for each run, in order: what it is called, and the number N of its `examples-N`
    runs-N        the records and other files of `RUNS_PER_PIECE` runs
    examples-N    what one set of evaluation data has: indices and references, kept once for all runs on it
    answers-N     the predictions of run N: short, scored, and told apart by the examples that they answer
"""

import base64
import gzip
import json
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rocoft_bench import tasks
from rocoft_bench.analysis.records import Results, Run, Stored
from rocoft_bench.errors import UserError
from rocoft_bench.metrics import formulas
from rocoft_bench.runs import EfficiencyRecord, KernelRecord, RunRecord

RUNS_PER_PIECE = 64
MAX_PREDICTION_BYTES = 24 * 2**20
"""Of all predictions together, as they are in the page. What is beyond is left out, and the page says so."""

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

Entry = Run | Stored[KernelRecord] | Stored[EfficiencyRecord]


@dataclass
class Packed:
    """numbers: the place of each run in the index, by id. left_out: ids of runs whose predictions had no room."""

    numbers: dict[str, int]
    pieces: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def pack(results: Results, max_prediction_bytes: int = MAX_PREDICTION_BYTES) -> Packed:
    """Everything that the page tells about single runs, kernel analyses and efficiency benches."""
    entries: list[Entry] = [*results.runs, *results.kernels, *results.efficiency]
    packed = Packed({entry.id: number for number, entry in enumerate(entries)})
    groups = _pack_predictions(packed, results.runs, max_prediction_bytes)
    index = [{**_summary(entry), "examples": groups.get(entry.id)} for entry in entries]
    packed.pieces["index"] = _piece({"runs": index, "runs_per_piece": RUNS_PER_PIECE, "left_out": packed.left_out})
    for number, start in enumerate(range(0, len(entries), RUNS_PER_PIECE)):
        details = [_details(entry) for entry in entries[start : start + RUNS_PER_PIECE]]
        packed.pieces[f"runs-{number}"] = _piece(details)
    return packed


def _pack_predictions(packed: Packed, runs: list[Run], room: int) -> dict[str, int]:
    """Adds the pieces; returns the number of its `examples-N` for each run whose predictions are there."""
    numbers: dict[str, int] = {}
    groups = {}
    for run in runs:
        if (found := predictions_of(run)) is None:
            continue
        examples = json.dumps(found.examples)
        number = numbers.get(examples, len(numbers))
        pieces = {f"answers-{packed.numbers[run.id]}": _piece(found.answers)}
        if examples not in numbers:
            pieces[f"examples-{number}"] = _piece(found.examples)
        if (size := sum(map(len, pieces.values()))) > room:
            packed.left_out.append(run.id)
            continue
        room -= size
        packed.pieces |= pieces
        groups[run.id] = numbers[examples] = number
    return groups


def _summary(entry: Entry) -> dict[str, Any]:
    """What a list of runs has to show."""
    record = entry.record
    if isinstance(record, RunRecord):
        label, task = record.label, record.task["name"]
    elif isinstance(record, KernelRecord):
        label, task = "kernel analysis", record.task
    else:
        label, task = record.label, None
    return {"id": entry.id, "label": label, "task": task, "seed": record.seed, "status": record.status}


def _details(entry: Entry) -> dict[str, Any]:
    details: dict[str, Any] = {"record": entry.record.model_dump(mode="json"), "provenance": entry.provenance}
    if isinstance(entry, Run):
        details |= {"config": entry.config_text, "losses": entry.losses()}
    return details


def _piece(value: Any) -> str:
    """JSON, compressed, in base64."""
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()


def _finite(value: Any) -> Any:
    """The value with a text for each number that JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


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
