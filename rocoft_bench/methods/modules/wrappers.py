"""Modules that methods written here put into a model."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.errors import UserError
from rocoft_bench.models import require_targets


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
        """The frozen weight as (d_out, d_in), a view, whatever way round the base layer stores it."""
        weight: Tensor = self.base_layer.weight.detach()
        return weight.t() if isinstance(self.base_layer, Conv1D) else weight

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


class DeltaWrapped(Wrapped):
    """y = x (W + ΔW)ᵀ + b, with the change computed apart from the frozen product."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        y = self.base_layer(x)
        return y + self.update(x.to(self.delta_dtype)).to(y.dtype)

    @property
    def delta_dtype(self) -> torch.dtype:
        return next(p.dtype for name, p in self.named_parameters() if not name.startswith("base_layer."))

    @abstractmethod
    def update(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> x ΔWᵀ (..., d_out)."""

    @abstractmethod
    def delta(self) -> Tensor:
        """ΔW (d_out, d_in)."""


def wrap(model: Any, targets: Sequence[str] | str, wrapper: Callable[[Any], Wrapped]) -> list[Wrapped]:
    """Put a wrapper around every linear layer that `targets` names; the wrappers, in the order of the layers.

    Raises: UserError if there is none.
    """
    made = []
    for parent, child, module in list(targeted_linears(model, targets)):
        made.append(wrapper(module))
        setattr(parent, child, made[-1])
    if not made:
        raise UserError(f"method.target_modules: a {model.config.model_type} model has no linear layer {targets}")
    return made


def targeted_linears(model: Any, targets: Sequence[str] | str) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """(parent, name in it, layer) of the linear layers that `targets` names: roles, endings or an expression.

    Raises: UserError as `require_targets`.
    """
    for name in require_targets(targets, model):
        module = model.get_submodule(name)
        if isinstance(module, nn.Linear | Conv1D):
            parent, _, child = name.rpartition(".")
            yield model.get_submodule(parent), child, module


@torch.no_grad()
def unwrap(model: nn.Module) -> None:
    """Put the bare linear layers back, with the changes of `DeltaWrapped` ones added to their weights.

    Raises: ValueError if a changed weight is not finite in the base's precision.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, Wrapped):
            if isinstance(module, DeltaWrapped):
                _add(module, name)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.base_layer)


def _add(module: DeltaWrapped, name: str) -> None:
    merged = (module.matrix.to(module.delta_dtype) + module.delta()).to(module.matrix.dtype)
    if not torch.isfinite(merged).all():
        raise ValueError(f"{name}: the merged weight is not finite")
    module.matrix.copy_(merged)
