"""What records are made of: numbers, how they begin, and what readers rely on in the dictionaries that they hold."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

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
