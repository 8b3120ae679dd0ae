"""The record of one run: what was done, what came out, and how. One JSON file, units in the names."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from rocoft_bench.errors import UserError
from rocoft_bench.runs.adapter_files import SavedFile
from rocoft_bench.runs.record_schema import (
    Count,
    DataFacts,
    Fraction,
    MethodFacts,
    ModelFacts,
    Number,
    ParameterFacts,
    PromptFacts,
    Seconds,
    Status,
    StatusRecord,
    TaskFacts,
    holds,
)
from rocoft_bench.untrusted import read_bytes


class Failure(NamedTuple):
    """Fields of the record of a run that ended badly: what happened, in one line, and what may help."""

    status: Status
    error: str
    hint: str | None = None


LOG_TAIL = 20
"""Lines of the log that go into the record of a failed run."""

SMALLER = "try a smaller training.batch_size with more training.gradient_accumulation, or fewer runs at a time"
MAKE_ROOM = "make room on the disk; what was trained up to the last checkpoint is not lost"
"""Hints."""


def tells_of_full_disk(text: str) -> bool:
    """Whether a message says that nothing more can be written, as Python, torch or safetensors have it."""
    return "No space left on device" in text or "Disk quota exceeded" in text


class RunRecord(StatusRecord):
    """`record.json`. Metrics are fractions, not percent. Fields that a run did not reach are None."""

    log_tail: list[str] = []
    """The last lines that the process of a failed run printed, where a sweep kept them."""
    config_hash: str
    settings_hash: str
    """Equal for runs that differ in their seed only; only those may share a cell of a table."""
    label: str
    """The method's row title, e.g. RoCoFT-3-Row."""
    task: Annotated[dict[str, Any], holds(TaskFacts)]
    """family, name, version, metric_names (first: the main one), eval_split, random_baseline."""
    protocol: str
    """How predictions were made and scored."""
    method: Annotated[dict[str, Any], holds(MethodFacts)]
    model: Annotated[dict[str, Any], holds(ModelFacts)]
    """name as given, paper_name where the paper has it, and its origin."""
    data: Annotated[dict[str, Any], holds(DataFacts, or_nothing=True)] = {}
    """Origin, rows and fingerprint of the training and evaluation data; empty if a run failed before it had them."""
    seed: int
    processes: int = 1
    """How many processes shared the rows of each step."""
    parameters: Annotated[dict[str, Count], holds(ParameterFacts, or_nothing=True)] = {}
    """Trained adapter weights and biases, the head apart, and the whole model; `stored`: the values outside the head
    that are left to save after training (some methods train more than they keep)."""
    adapter_bytes: Count | None = None
    """Size of the saved adapter's files, the head's values included, the model card not."""
    adapter_files: dict[str, SavedFile] | None = None
    """The files of the saved adapter by name, but for the model card; None in records of older versions."""
    metrics: dict[str, Fraction] | None = None
    kept_epoch: int | None = None
    keep: str
    """The rule that chose the kept epoch: last or best."""
    initial_metrics: dict[str, Fraction] | None = None
    """Before the first step, where that was asked for."""
    epoch_metrics: list[dict[str, float]] = []
    steps: Count | None = None
    train_seconds: Seconds | None = None
    """Time in training steps: no loading, evaluation or checkpoints."""
    eval_seconds: Seconds | None = None
    peak_memory_mib: Number | None = None
    peak_memory_kind: str | None = None
    memory_estimate_mib: dict[str, float] | None = None
    """The estimate before the run, by its parts and in total, beside which `peak_memory_mib` stands."""
    notes: list[str] = []
    """Everything in which the run differs from what its name says: fewer rows, cut inputs, stand-in data."""
    finished_at: str
    prompt: Annotated[dict[str, Any], holds(PromptFacts, or_nothing=True)] = {}
    """Of models that answer in words: the template and its version; the first training and evaluation example as the
    model sees it (text, token ids, which labels are learnt or scored); when an answer ends. Empty for other models, and
    in records of older versions."""


R = TypeVar("R", bound=BaseModel)


def read_record(file: Path, kind: type[R]) -> R:
    """The record of some kind in a file.

    Raises: UserError if it cannot be read or is not such a record; in one line, with the first thing that is wrong.
    """
    try:
        return kind.model_validate_json(read_bytes(file))
    except ValidationError as error:
        problems = {".".join(map(str, problem["loc"])): problem for problem in error.errors()}
    if "schema_version" in problems:
        version = problems["schema_version"]["input"]
        raise UserError(f"{file}: of schema version {version}, which this version of rocoft-bench does not read")
    where, problem = next(iter(problems.items()))
    what = problem["msg"].removeprefix("Value error, ").lower()
    raise UserError(f"{file}: not a valid record ({where + ': ' if where else ''}{what})")
