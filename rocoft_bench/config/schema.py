"""What a run is made of. Every key of every YAML file is declared here or in a method's own settings."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rocoft_bench.config.paths import SettingModel, SettingPath
from rocoft_bench.untrusted.data_files import ENDINGS

MOST = 1_000_000
"""Ranks, epochs, rows of a batch, tokens, steps: no run has more, and a slip of the keyboard may train for ever."""

Count = Annotated[int, Field(gt=0, le=MOST)]
CountFromZero = Annotated[int, Field(ge=0, le=MOST)]
LargeCount = Annotated[int, Field(gt=0, le=10**12)]
"""Of rows or parameters."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(ge=0, lt=1)]


class StrictModel(BaseModel):
    """A strict group of settings: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would read true as 1, and YAML reads yes and on as true."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and _names(annotation, int, float) and not _names(annotation, bool):
            raise ValueError("a number is wanted, not true or false")
        return value


@cache
def defaults_of(section: type[StrictModel]) -> dict[str, Any]:
    """The settings of a group that have a default, as plain values."""
    return section.model_construct().model_dump(mode="json")


def _names(annotation: Any, *types: type) -> bool:
    """Whether one of the types is allowed by an annotation."""
    return annotation in types or any(_names(part, *types) for part in get_args(annotation))


class TaskConfig(StrictModel):
    """What every task can be told. A kind of task adds settings of its own in a subclass (`Task.Settings`)."""

    family: str
    """Task family, e.g. glue; `rocoft ls tasks` shows all."""
    name: str
    """Task within the family, e.g. rte."""
    data_dir: SettingPath | None = Field(
        None, description=f"Folder with FAMILY/TASK/SPLIT{ENDINGS}, recorded as its full path; without it, the hub."
    )
    max_length: Count = 512
    """Longest input in tokens; longer ones are cut, which is counted and reported."""
    max_train_rows: LargeCount | None = None
    """Train on the first rows only (for trying things out; recorded)."""
    max_eval_rows: LargeCount | None = None
    """Evaluate on the first rows only (for trying things out; recorded)."""
    hold_out: LargeCount | None = None
    """A trial of tuning (`tune` of a sweep): so many of the training rows are held out of training, and the model is
    scored on them; the rows of the evaluation are not even read."""
    hold_out_seed: Seed = 0
    """Draws the rows that are held out."""


class ModelConfig(StrictModel):
    name: SettingModel = "FacebookAI/roberta-base"
    """Hub id, a name from `rocoft ls models`, or a local folder, recorded as its full path."""
    revision: str | None = None
    """Hub revision; by default the pinned one of `rocoft ls models`, else main. The commit is recorded."""
    head: Literal["fresh", "checkpoint"] = "fresh"
    """Task head to start from: a new one, or the checkpoint's, whose classes must have the names of the task's."""
    dropout: Share | None = None
    """Hidden and attention dropout; by default the checkpoint's own."""
    norm_eps: PositiveFloat | None = None
    """Epsilon of the layer norms ("Norm" in Table 10); by default the checkpoint's own."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the frozen weights; half the memory for the 16-bit ones."""
    quantization: Literal["nf4", "int8"] | None = None
    """Keep the matrices of the blocks in 4 or 8 bits (bitsandbytes), where the method trains on such a base."""


MIXED = ("bf16", "fp16")
"""The values of `training.precision` that are by autocast."""


class TrainingConfig(StrictModel):
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of AdamW; by default the method's own."""
    epochs: Count = 3
    """Passes over the training rows."""
    batch_size: Count = 32
    """Rows per forward pass, over all processes: more processes share them, and do not change what is computed."""
    eval_batch_size: Count = 64
    """Rows per forward pass in evaluation."""
    gradient_accumulation: Count = 1
    """Forward passes per optimizer step, over all processes. Table 10's "Gradient Accumul." 0 means none, that is 1."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's decoupled decay of trained weights, by default the method's own; biases, norms and what else has no
    neutral value of 0 are exempt."""
    warmup_steps: CountFromZero = 0
    """Optimizer steps of linear warm-up."""
    lr_scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after warm-up."""
    max_grad_norm: PositiveFloat | None = 1.0
    """Clip the gradient's norm; null switches it off."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """fp32; tf32, which on GPUs that can rounds what products read to 10 bits; or mixed precision by autocast."""
    gradient_checkpointing: bool = False
    """Trade time for memory: recompute activations in backward."""
    keep: Literal["last", "best"] = "last"
    """Report and save the last epoch's weights, or those of the epoch with the best main metric (recorded)."""
    evaluate: Literal["epochs", "end"] = "epochs"
    """Evaluate after every epoch, or once at the end (where answers are generated, that takes long)."""
    evaluate_before: bool = False
    """Evaluate before the first step too, to see what training adds."""
    checkpoint_seconds: PositiveFloat = 10.0
    """Least time between two checkpoints to resume from; more where writing one is slow."""

    @model_validator(mode="after")
    def _best_needs_every_epoch(self) -> TrainingConfig:
        if self.keep == "best" and self.evaluate == "end":
            raise ValueError('keep = "best" compares epochs, so it needs evaluate = "epochs"')
        return self


OF_THE_METHOD = ("learning_rate", "weight_decay")
"""Settings of `training` that are chosen for a method: where the method changes, it brings its own. The others, warm-up
among them, are the conditions that methods are compared under."""


DEFAULT_METHOD = "rocoft"


class RunConfig(StrictModel):
    """One training run, complete."""

    task: SerializeAsAny[TaskConfig]
    model: ModelConfig = ModelConfig()
    method: dict[str, Any] = {"name": DEFAULT_METHOD}
    """`name` and the settings of that method; `rocoft ls methods` shows them."""
    training: TrainingConfig = TrainingConfig()
    seed: Seed = 0
    """Seed of everything random: head, dropout, order of rows, selection."""
