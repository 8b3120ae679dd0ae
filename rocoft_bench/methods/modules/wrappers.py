"""Modules that methods written here put into a model."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.errors import UserError
from rocoft_bench.models import require_targets

Module = TypeVar("Module", bound=nn.Module)


class Attached(nn.Module):
    """A module of a method's own: its trained parameters and its (persistent) buffers are what is saved."""


class Wrapped(Attached):
    """Stands in the place of a linear layer, which stays inside, frozen, as `base_layer`."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer: Any = base_layer
        self.d_out, self.d_in = self.matrix.shape

    @property
    def matrix(self) -> Tensor:
        return matrix_of(self.base_layer)

    @property
    def weight(self) -> Tensor:
        """Some models look at the weight of a layer that they call."""
        return self.base_layer.weight

    @property
    def bias(self) -> Tensor | None:
        return self.base_layer.bias

    def new_parameter(self, *shape: int) -> nn.Parameter:
        """Zeros in float32, whatever the base's precision, on its device."""
        return nn.Parameter(torch.zeros(*shape, device=self.weight.device, dtype=torch.float32))

    def merge(self, name: str) -> None:
        """Change the base layer's weight as what is trained would have it, for methods that are mergeable.

        Raises: ValueError, with the layer's name, if it is not finite then in the base's precision.
        """
        raise NotImplementedError(f"{name}: {type(self).__name__} cannot be merged")


def matrix_of(linear: Any) -> Tensor:
    """A linear layer's weight without gradient, (d_out, d_in): a view, whatever way round the layer stores it."""
    weight: Tensor = linear.weight.detach()
    return weight.t() if isinstance(linear, Conv1D) else weight


def modules_of(model: nn.Module, kind: type[Module]) -> dict[str, Module]:
    """A model's modules of a class, by name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, kind)}


def targeted_linears(model: Any, targets: Sequence[str] | str) -> dict[str, nn.Module]:
    """The linear layers that `targets` names, roles, endings or an expression; by their names.

    Raises: UserError as `require_targets`.
    """
    modules = {name: model.get_submodule(name) for name in require_targets(targets, model)}
    return {name: module for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D)}


def wrap(model: Any, targets: Sequence[str] | str, wrapper: Callable[[Any], Wrapped]) -> dict[str, Any]:
    """Put a wrapper around every linear layer that `targets` names; the wrappers, by the names of the layers.

    Raises: UserError if there is none.
    """
    made = {name: wrapper(linear) for name, linear in targeted_linears(model, targets).items()}
    if not made:
        raise UserError(f"method.target_modules: a {model.config.model_type} model has no linear layer {targets}")
    for name, module in made.items():
        model.set_submodule(name, module)
    return made


@torch.no_grad()
def unwrap(model: nn.Module) -> None:
    """Put the bare linear layers back, changed as what was trained would have them. Raises: as `Wrapped.merge`."""
    for name, module in modules_of(model, Wrapped).items():
        module.merge(name)
        model.set_submodule(name, module.base_layer)
