"""What a checkpoint holds of a model: all of it, but for the head where a task brings a new one."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from rocoft_bench.errors import UserError
from rocoft_bench.models.parameter_counts import head_parameter_names

SHOWN = 3
"""Names of tensors in a message."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A loaded model, and what transformers says of the tensors that it was loaded from.

    name: of the model, as it was given. labels: names of the classes in the checkpoint's own configuration.
    missing_keys: of the model, which the checkpoint lacks and which are random. mismatched_keys: name, shape in the
    checkpoint, and shape in the model, which are random too. unexpected_keys: of the checkpoint, without a place.
    """

    name: str
    model: Any
    has_head: bool
    labels: list[str]
    missing_keys: Collection[str]
    mismatched_keys: Collection[tuple[str, tuple[int, ...], tuple[int, ...]]]
    unexpected_keys: Collection[str]
    error_msgs: Collection[str] = ()

    @cached_property
    def head(self) -> list[str]:
        """The parameters of the task head."""
        return sorted(head_parameter_names(self.model)) if self.has_head else []

    def check_complete(self) -> None:
        """Raises: UserError if anything outside the head is not in the checkpoint, or has another shape there; or if
        the task needs a head and the model's cannot be told from the rest.
        """
        if self.has_head and not self.head:  # such as T5's for question answering
            raise UserError(
                f"--model {self.name}: {type(self.model).__name__} has no part of its own beside its task head, so "
                "that the head cannot be trained apart; choose an encoder, such as roberta-base"
            )
        if trouble := self._trouble(exempt=self.head):
            raise UserError(
                f"--model {self.name}: its checkpoint {trouble}, which a {self.model.config.model_type} model of its "
                "config.json needs"
            )

    def check_finite(self) -> None:
        """Raises: UserError if a value is NaN or infinite: training would go wrong in its first step."""
        for name, parameter in self.model.named_parameters():
            if parameter.is_floating_point() and not parameter.is_meta and not parameter.isfinite().all():
                kind = str(parameter.dtype).removeprefix("torch.")
                raise UserError(
                    f"--model {self.name}: its {name} holds NaN or infinity (read as {kind}); the checkpoint is "
                    "damaged, or its values need another model.dtype"
                )

    def _trouble(self, exempt: Collection[str]) -> str | None:
        missing = [name for name in sorted(self.missing_keys) if name not in exempt]
        shapes = [
            f"{name} {_shape(there)} instead of {_shape(wanted)}"
            for name, there, wanted in sorted(self.mismatched_keys)
            if name not in exempt
        ]
        if missing:
            return f"lacks {_listed(missing)}"
        return f"has {_listed(shapes)}" if shapes else None

    def notes(self) -> list[str]:
        """Says which tensors are left out, though the model has the part that they are named after.

        An old task head is no part of the model, so that it goes without saying.
        """
        body = self.model.base_model
        parts = {name for name, _ in body.named_children()}
        names = [name.removeprefix(f"{self.model.base_model_prefix}.") for name in sorted(self.unexpected_keys)]
        unused = [name for name in names if name.partition(".")[0] in parts]
        return [f"the model has no place for {_listed(unused)} of its checkpoint"] if unused else []

    def settle_head(self, choice: Literal["fresh", "checkpoint"]) -> list[str]:
        """Make the head a new one, or the checkpoint's in the task's order of classes, and say which, if it has one.

        Raises: UserError if the checkpoint's is wanted and it has none, or none for the task's classes.
        """
        if choice == "checkpoint":
            return self._kept_head()
        lacking = {*self.missing_keys, *(name for name, *_ in self.mismatched_keys)}
        there = [name for name in self.head if name not in self.missing_keys]
        if not there:
            return []
        _initialize(self.model, [name for name in self.head if name not in lacking])
        return [f"the head that the checkpoint has ({_listed(there)}) is not used but a fresh one (model.head)"]

    def _kept_head(self) -> list[str]:
        labels = _names(self.model.config.id2label.values())
        has_classes = self.model.config.problem_type == "single_label_classification"
        order = self._order(labels) if has_classes else []
        if trouble := self._trouble(exempt=()):
            raise UserError(
                f'model.head = "checkpoint": {self.name} has no head for this task, it {trouble}; take a fresh head'
            )
        if order != sorted(order):
            linears = [module for name, module in self.model.named_modules() if f"{name}.weight" in self.head]
            output = [linear for linear in linears if linear.out_features == len(order)][-1]
            for parameter in output.parameters():
                parameter.data = parameter.data[order].contiguous()  # (classes, width) and (classes,)
        return ["training starts from the head that the checkpoint has (model.head)"]

    def _order(self, wanted: list[str]) -> list[int]:
        """For each class of the task its number in the checkpoint."""
        there = _names(self.labels)
        if sorted(there) != sorted(wanted):
            raise UserError(
                f'model.head = "checkpoint": the head of {self.name} is for the classes {", ".join(self.labels)} and '
                f"the task has {', '.join(wanted)}; name them so in its config.json (id2label), or take a fresh head"
            )
        return [there.index(name) for name in wanted]


def _names(labels: Iterable[Any]) -> list[str]:
    return [str(label).casefold() for label in labels]


def _initialize(model: Any, names: Iterable[str]) -> None:
    """Give parameters the values that they would have had, had the checkpoint not had them."""
    owners = {name.rpartition(".")[0] for name in names}
    for module in (model.get_submodule(owner) for owner in sorted(owners)):
        for parameter in module.parameters(recurse=False):
            parameter._is_hf_initialized = False  # transformers leaves alone what it has loaded
        with torch.no_grad():
            model._init_weights(module)


def _shape(sizes: Iterable[int]) -> str:
    return f"({', '.join(map(str, sizes))})"


def _listed(names: list[str]) -> str:
    """The first few, and how many there are."""
    more = f", … ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
