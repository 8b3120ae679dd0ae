"""The record of one run: what was done, what came out, and how. One JSON file, units in the names.

Also what all records are made of: numbers, how they begin, and what readers rely on in the dictionaries that they hold.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rocoft_bench.errors import UserError
from rocoft_bench.untrusted import read_bytes

LARGEST = 1e24
"""What is larger than any run can make it is damage: it would show as a result, and break plots."""

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""A measured number: MiB, floating-point operations."""

Seconds = Annotated[float, Field(ge=0, le=1e9)]
"""Of a run; no more than thirty years."""

Count = Annotated[int, Field(ge=0, le=10**15)]
"""Of parameters, rows, steps or bytes."""

Fraction = Annotated[float, Field(ge=-100, le=100)]
"""A metric. Even a percentage, which it should not be, is no larger."""

Status = Literal["ok", "failed", "oom", "nan", "crashed", "timeout", "interrupted"]
"""failed: an error that was caught; crashed: the process died; interrupted: stopped on request, to be gone on with."""


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


class RecordPart(BaseModel):
    """Holds its fields and nothing else."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class StatusRecord(RecordPart):
    """What the records of runs and of analyses begin with."""

    schema_version: Literal[1] = 1
    status: Status
    error: str | None = None
    """Of what is not ok: what happened, in one line."""
    hint: str | None = None
    """Of what is not ok: what may help."""


class SavedFile(RecordPart):
    """A file of trained values. sampled_sha256: of the whole of a small one and of parts of a large one, so that it is
    known in no time.
    """

    bytes: Count
    sampled_sha256: str


class Facts(BaseModel):
    """Keys of a dictionary, and of which type they are. It may hold more; one with a default may be missing."""

    model_config = ConfigDict(strict=True, extra="ignore")


class TaskSettings(Facts):
    data_dir: str | None = None
    max_train_rows: int | None = None
    max_eval_rows: int | None = None
    hold_out: int | None = None
    loss_on: str | None = None
    protocol: str | None = None
    scoring: str | None = None


class TaskFacts(Facts):
    family: str
    name: str
    metric_names: list[str]
    eval_split: str
    version: int | None = None
    paper_task: str | None = None
    random_baseline: float | None = None
    settings: TaskSettings = TaskSettings()


class MethodFacts(Facts):
    name: str | None = None
    mode: str | None = None
    selection: str | None = None
    target_modules: list[str] | str | None = None
    rank: Count | None = None
    init_rank: Count | None = None
    num_virtual_tokens: Count | None = None


class ModelFacts(Facts):
    name: str
    paper_name: str | None = None
    kind: str | None = None
    id: str | None = None
    revision: str | None = None
    weights_sha256: str | None = None


class LayerFacts(ModelFacts):
    """d_in, d_out: of a single layer (kind "layer")."""

    d_in: Count | None = None
    d_out: Count | None = None


class SourceFacts(Facts):
    kind: str | None = None
    id: str | None = None
    revision: str | None = None
    sha256: str | None = None


class EvaluationFacts(SourceFacts):
    kind: str


class DataFacts(Facts):
    train: SourceFacts = SourceFacts()
    evaluation: EvaluationFacts
    train_rows: Count
    eval_rows: Count


class KernelDataFacts(Facts):
    train: SourceFacts = SourceFacts()
    evaluation: SourceFacts = SourceFacts()
    train_rows: int | None = None
    eval_rows: int | None = None


class SeenFacts(Facts):
    text: str
    input_ids: list[int]
    loss_mask: list[int] = []
    target_text: str = ""
    target_ids: list[int] = []
    mask_position: int | None = None


class PromptFacts(Facts):
    """template_version: equal for records whose templates are."""

    template_version: str
    template: str = ""
    training: SeenFacts | None = None
    evaluation: SeenFacts | None = None
    stop: dict[str, Any] = {}
    label_words: dict[str, int] = {}


class ParameterFacts(Facts):
    adapter: Count
    head: Count


def holds(facts: type[Facts], or_nothing: bool = False) -> AfterValidator:
    """Requires facts of a dictionary, which stays as it is; or_nothing: it may be empty instead."""

    def check(values: dict[str, Any]) -> dict[str, Any]:
        if values or not or_nothing:
            try:
                facts.model_validate(values)
            except ValidationError as error:
                raise ValueError(_first_problem(error)) from None
        return values

    return AfterValidator(check)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    key = ".".join(map(str, problem["loc"]))
    said = {"missing": f"{key} is missing", "model_type": f"{key}: input should be a dictionary"}
    return said.get(problem["type"], f"{key}: {problem['msg']}")


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
