"""Trained parameters in float32 on a model whose weights are in 16 bits.

A step of AdamW at a usual rate is below the 8 bits of most bfloat16 values, and float16's gradients cannot be unscaled.
So what is trained is held in float32, and layers of a 16-bit model compute with it in their own precision.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from rocoft_bench.models.parameter_counts import is_norm


def hold_in_float32(model: nn.Module, parameters: Iterable[nn.Parameter]) -> None:
    """Turn those of a model's parameters that are in 16 bits to float32; their layers still read and return 16 bits."""
    chosen = {id(p): p for p in parameters if p.is_floating_point() and p.itemsize == 2}
    for module in model.modules():
        own = [p for p in module.parameters(recurse=False) if id(p) in chosen]
        if own:
            module.outer_dtype = own[0].dtype  # type: ignore[assignment]
            module.__class__ = _holding(type(module))  # type: ignore[arg-type] # mypy takes no class for hashable
    for parameter in chosen.values():
        parameter.data = parameter.data.float()


def hold_trained_in_float32(model: nn.Module) -> None:
    """Whatever the base's precision, a method trains, saves and loads float32."""
    hold_in_float32(model, (parameter for parameter in model.parameters() if parameter.requires_grad))


class _Holding:
    """In front of a layer's class: its forward sees parameters and inputs in one precision, whatever they are held in.

    That is the model's own 16 bits, or for norms float32: near one, a change of 1e-3 is lost in bfloat16.
    """

    outer_dtype: torch.dtype
    _parameters: dict[str, nn.Parameter | None]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        dtype = torch.float32 if is_norm(self) else self.outer_dtype  # type: ignore[arg-type]
        held = self._parameters
        self.__dict__["_parameters"] = {name: _cast(value, dtype) for name, value in held.items()}
        try:
            inputs = {name: _cast(value, dtype) for name, value in kwargs.items()}
            output = super().forward(*(_cast(value, dtype) for value in args), **inputs)  # type: ignore[misc]
            return _cast(output, self.outer_dtype)
        finally:
            self.__dict__["_parameters"] = held


@cache
def _holding(layer_class: type[nn.Module]) -> type[nn.Module]:
    if issubclass(layer_class, _Holding):
        return layer_class
    return type(layer_class.__name__, (_Holding, layer_class), {})


def _cast(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
