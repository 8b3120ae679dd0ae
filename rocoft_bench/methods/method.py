"""What a fine-tuning method is: it makes part of a model trainable, counts it, saves it and loads it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import Field

from rocoft_bench.config import ModelConfig, StrictModel, TrainingConfig
from rocoft_bench.errors import UserError
from rocoft_bench.models import LINEAR_ROLES, MASKED_LM, ROLES, TASKS_WITH_HEAD, LinearShape, ModelShapes
from rocoft_bench.models.quantised import check_bitsandbytes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rocoft_bench.engine.hooks import Hooks

Targets = Annotated[
    list[str] | str, Field(description=f"Adapted matrices: roles ({', '.join(ROLES)}) or names of modules.")
]


@dataclass(frozen=True)
class MethodMemory:
    """What training with a method takes of memory, as far as it is the method's own doing.

    base_bytes: of the model's own weights, head included, and of what is frozen beside them where that is much.
    inputs: the linear layers whose input the backward pass needs; layers that share one keep it once.
    inputs_made_again: the linear layers whose input the backward pass computes from what is kept anyway.
    extra_saved_per_token: values per token that it keeps for backward at linear layers, beside the input.
    saved_per_pass: values that it keeps however many tokens there are, such as a change of the whole weight.
    adds_values: whether what it trains outside the head are values of its own, in float32; False for the model's own.
    copies_head: whether it trains a copy of the task head.
    fuses_matmul: whether its layers do the whole product, and keep no copy of their weight in mixed precision.
    optimizer_values: what the optimizer keeps of each trained value: AdamW two averages.
    """

    base_bytes: float
    inputs: Sequence[LinearShape]
    inputs_made_again: Sequence[LinearShape] = ()
    extra_saved_per_token: Sequence[tuple[LinearShape, float]] = ()
    saved_per_pass: int = 0
    adds_values: bool = True
    copies_head: bool = False
    fuses_matmul: bool = False
    optimizer_values: int = 2


S = TypeVar("S", bound=StrictModel)


class Method(ABC, Generic[S]):
    """One fine-tuning method. Subclasses are listed in `rocoft_bench.methods.METHODS`."""

    name: ClassVar[str]
    label: str
    """Row title in tables, in the paper's spelling where it has one (e.g. "Adapter-S")."""
    trains: ClassVar[str]
    """What is trained, in a few words."""
    provider: ClassVar[str]
    """This package or the library that implements it."""
    mergeable: ClassVar[bool]
    reference: ClassVar[str]
    Settings: ClassVar[type[StrictModel]]
    """The method's own settings, with defaults; keys of the `method` section of a config."""
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    """Other defaults by the kind of a task or by a model of the paper, the latter winning over the former."""
    learning_rate: ClassVar[float]
    """Peak rate where the config states none, or one for another method. A comment says whether it is the paper's, its
    authors' code's, or chosen here."""
    learning_rates: ClassVar[dict[str, float]] = {}
    """Other peak rates by the kind of a task."""
    weight_decay: ClassVar[float]
    """The same of AdamW's decoupled decay."""
    supported_tasks: ClassVar[tuple[str, ...]] = (*TASKS_WITH_HEAD, MASKED_LM, "causal_lm", "seq2seq_lm")
    """Kinds of tasks whose models it can train."""
    architectures: ClassVar[tuple[str, ...] | None] = None
    """The only `model_type`s that it can train; None for no limit of that kind."""
    not_architectures: ClassVar[dict[str, str]] = {}
    """The `model_type`s that it cannot train, and why."""
    keeps_best: bool = True
    """False where what is trained changes in the course of training, so that only the last epoch is a result."""
    checkpoints_gradients: ClassVar[bool] = True
    """False where it fails with gradient checkpointing."""
    undecayed: ClassVar[tuple[str, ...]] = ()
    """Parts of the names of parameters that weight decay spares: those whose neutral value is not 0."""
    quantised_bases: ClassVar[bool] = False
    """True where it trains on a base whose matrices `model.quantization` keeps in 4 or 8 bits."""
    shares_examples: bool = True
    """False where only one process can train it."""
    skips_parameters: ClassVar[bool] = False
    """True where a step may leave something that it trains without a gradient: gates that are fixed by then, or what
    the model has and no pass uses. Processes that share a run then look for it in every step."""
    shards: ClassVar[bool] = True
    """False where every process needs all of what is trained."""
    adds_values: ClassVar[bool] = True
    """False where what it trains outside the head are the model's own values."""
    copies_head: ClassVar[bool] = False
    """True where it trains a copy of the task head."""

    virtual_tokens: int = 0
    """Positions that it takes away from the input."""
    added_tokens: int = 0
    """Tokens that it puts before every example."""
    loading_options: dict[str, Any] = {}  # noqa: RUF012 - a constant
    """Arguments of `from_pretrained` that the base model must be loaded with."""
    ignored_settings: frozenset[str] = frozenset()
    """Names of its settings that have no effect beside the others: they make no run another one."""

    def __init__(self, settings: S) -> None:
        self.settings = settings

    def training_defaults(self, task_kind: str) -> dict[str, float]:
        """The settings of the training that are the method's own, where a config does not state them."""
        rate = self.learning_rates.get(task_kind, self.learning_rate)
        return {"learning_rate": rate, "weight_decay": self.weight_decay}

    def check_supports(self, task_kind: str, model_type: str | None) -> None:
        """Raises UserError where the method cannot train such a model for such a task. None: not known yet."""
        for kind, supported in ((task_kind, self.supported_tasks), (model_type, self.architectures)):
            if kind is not None and supported is not None and kind not in supported:
                raise UserError(f"method {self.name} cannot train a {kind} model; it supports {', '.join(supported)}")
        if model_type in self.not_architectures:
            raise UserError(f"method {self.name}: {self.not_architectures[model_type]}")

    def check_effect(self, sources: Mapping[str, str]) -> None:
        """Raises UserError where a setting was asked for that has no effect. sources: by dotted key."""

    def notes(self, sources: Mapping[str, str]) -> tuple[str, ...]:
        """What a run should say of the settings, a line each. sources: as in `check_effect`."""
        return ()

    def check_training(self, training: TrainingConfig) -> None:
        """Raises UserError where the method cannot be trained in such a way."""
        if training.keep == "best" and not self.keeps_best:
            raise UserError(
                f'training.keep = "best": what {self.name} trains changes until the end of training; use "last"'
            )
        if training.gradient_checkpointing and not self.checkpoints_gradients:
            raise UserError(f"training.gradient_checkpointing: {self.name} fails with it; set it to false")

    def check_model(self, model: ModelConfig) -> None:
        """Raises UserError where the method cannot train a model that is loaded in such a way."""
        if model.quantization is not None:
            if not self.quantised_bases:
                raise UserError(
                    f"model.quantization = {model.quantization}: {self.name} trains no quantised base; rocoft does, "
                    "and qlora is LoRA on one"
                )
            check_bitsandbytes("model.quantization")

    def check_processes(self, sharded: bool) -> None:
        """Raises UserError where several processes cannot train the method. sharded: each has a part of the model."""
        if not self.shares_examples:
            raise UserError(f"--num-processes: {self.name} is trained by one process; leave it out")
        if sharded and not self.shards:
            raise UserError(f"--config-file: {self.name} needs the whole model in each process; leave it out")

    @abstractmethod
    def apply(self, model: nn.Module, task_kind: str, seed: int) -> nn.Module:
        """Freeze the model, make the method's part and the task head trainable, in float32, and return the model."""

    @abstractmethod
    def adapter_parameters(self, shapes: ModelShapes) -> int:
        """Trained parameters outside the head, by formula."""

    def head_parameters(self, shapes: ModelShapes) -> int:
        """Trained parameters of the task head: all of them, as a rule."""
        return shapes.head

    def reported_parameters(self, shapes: ModelShapes) -> int:
        """What papers count as the method's parameters outside the head: those that it trains, as a rule."""
        return self.adapter_parameters(shapes)

    def other_counts(self, shapes: ModelShapes) -> dict[str, int]:
        """Other things that could be meant by its number of parameters outside the head, in a word or two each."""
        return {}

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """What it takes of memory on a model whose values take `itemsize` bytes."""
        targets = getattr(self.settings, "target_modules", None)
        return MethodMemory(
            base_bytes=itemsize * (shapes.total + shapes.head),
            inputs=[] if targets is None else shapes.targeted(targets),
            adds_values=self.adds_values,
            copies_head=self.copies_head,
        )

    def calibrate(self, model: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> bool:
        """Look at some training batches (one example each, no padding) before the optimizer exists.

        Returns whether the method made use of them.
        """
        return False

    def hooks(self, model: nn.Module, training: TrainingConfig, total_steps: int) -> Hooks:
        """What it adds to the training loop."""
        from rocoft_bench.engine.hooks import Undecayed

        return Undecayed(*self.undecayed)

    def stored_parameters(self, model: nn.Module, trained: int) -> int:
        """Values outside the head that are left to save after training; `trained` where all of them are."""
        return trained

    @abstractmethod
    def save(self, model: nn.Module, folder: Path) -> None:
        """Write all trained values, head included, as safetensors into `folder`."""

    @abstractmethod
    def load(self, model: nn.Module, folder: Path, task_kind: str) -> nn.Module:
        """Put saved values onto a fresh base model; the result answers exactly like the saved model."""

    @abstractmethod
    def _merged(self, model: nn.Module) -> nn.Module:
        """`merge`, for a method that is mergeable."""

    def merge(self, model: nn.Module) -> nn.Module:
        """The plain model with all trained values in place. Raises UserError where the method cannot be merged."""
        self.check_mergeable()
        return self._merged(model)

    def check_mergeable(self) -> None:
        """Raises UserError where the method cannot be merged."""
        if not self.mergeable:
            raise UserError(f"{self.name} cannot be merged into the base model; keep it as an adapter")

    def check_is_lora(self) -> None:
        """Raises UserError where `save_as_lora` cannot write what was trained as a LoRA adapter."""
        instead = "use --format merged" if self.mergeable else "keep it as it is"
        raise UserError(f"--format lora: what {self.name} trains is no LoRA in another form; {instead}")

    def save_as_lora(self, model: nn.Module, folder: Path) -> None:
        """Write the trained values into `folder` as a LoRA adapter of peft's that answers like the model."""
        self.check_is_lora()


class NoSettings(StrictModel):
    """No settings."""


KNOWN_ARCHITECTURES = tuple(LINEAR_ROLES)
"""For methods that have to know the parts of a block."""

NO_PREFIX = {"gemma2": "its attention caps the scores, which the attention with a prefix cannot do"}
"""The `model_type`s of which attentions take no prefix, as in `Method.not_architectures`."""
