"""What the page holds of each run beyond its tables: JSON, compressed in pieces that are unpacked when they are needed.

A piece is gzip in base64, so that nothing that came from a record is ever markup. Pieces, by name:
    index         for each run, in order: what it is called, and the number N of its `examples-N`
    runs-N        the records and other files of `RUNS_PER_PIECE` runs
    examples-N    what one set of evaluation data has: indices and references, kept once for all runs on it
    answers-N     the predictions of run N
"""

import base64
import gzip
import json
import math
from dataclasses import dataclass, field
from typing import Any

from rocoft_bench.analysis.records import Results, Run, Stored
from rocoft_bench.report.page.predictions import predictions_of
from rocoft_bench.runs import EfficiencyRecord, KernelRecord, RunRecord

RUNS_PER_PIECE = 64
MAX_PREDICTION_BYTES = 24 * 2**20
"""Of all predictions together, as they are in the page. What is beyond is left out, and the page says so."""

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
