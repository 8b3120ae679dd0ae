"""What a fine-tuning method is: it makes part of a model trainable, counts it, saves it and loads it again."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rocoft_bench.config import Section
from rocoft_bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rocoft_bench.models import LinearShape


TASKS_WITH_HEAD = ("sequence_classification", "question_answering")
"""Kinds of tasks whose model gets a freshly initialised head; language models have none."""


class Method(ABC):
    """One fine-tuning method. Subclasses are listed in `rocoft_bench.methods.REGISTRY`."""

    name: ClassVar[str]
    trains: ClassVar[str]
    """What is trained, in a few words."""
    provider: ClassVar[str]
    """"here" or the library that implements it."""
    mergeable: ClassVar[bool]
    needs_head: ClassVar[bool] = False
    """Whether it can only serve tasks whose model has a head of its own (`TASKS_WITH_HEAD`)."""
    reference: ClassVar[str]
    Settings: ClassVar[type[Section]]
    """The method's own settings, with defaults; keys of the `method` section of a config."""

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @property
    @abstractmethod
    def label(self) -> str:
        """Row title in tables, in the paper's spelling where it has one (e.g. "RoCoFT-3-Row")."""

    def check_serves(self, task_kind: str) -> None:
        """Raises UserError where the method cannot train a model for such a task."""
        if self.needs_head and task_kind not in TASKS_WITH_HEAD:
            raise UserError(
                f"method {self.name} trains a task head, which a {task_kind} model does not have; "
                f"it serves {' and '.join(TASKS_WITH_HEAD)}"
            )

    @abstractmethod
    def apply(self, model: nn.Module, task_kind: str, seed: int) -> nn.Module:
        """Freeze the model, make the method's part and the task head trainable, and return the model to train."""

    @abstractmethod
    def adapter_parameters(self, linears: list[LinearShape]) -> int | None:
        """Trained parameters outside the head, by formula, for the linear layers of the model's blocks.

        None where no formula over the blocks exists (full fine-tuning trains embeddings and norms too).
        """

    def calibrate(self, model: nn.Module, batches: Iterable[Mapping[str, Tensor]]) -> bool:
        """Look at some training batches (one row each, no padding) before the optimizer exists.

        Returns whether the method made use of them.
        """
        return False

    @abstractmethod
    def save(self, model: nn.Module, folder: Path) -> None:
        """Write all trained values, head included, as safetensors into `folder`."""

    @abstractmethod
    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        """Put saved values onto a fresh base model; the result answers exactly like the saved model."""

    @abstractmethod
    def merge(self, model: nn.Module) -> nn.Module:
        """The plain model with all trained values in place. Raises UserError where the method cannot be merged."""


def targeted(linears: list[LinearShape], target_modules: list[str] | str | None) -> list[LinearShape]:
    """The layers that `target_modules` names, as PEFT reads it: suffixes, a regular expression, or None for all."""
    if target_modules is None:
        return linears
    if isinstance(target_modules, str):
        return [linear for linear in linears if re.fullmatch(target_modules, linear.name)]
    suffixes = tuple(f".{name}" for name in target_modules)
    return [linear for linear in linears if f".{linear.name}".endswith(suffixes)]
