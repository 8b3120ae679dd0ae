"""Parameters of which every process holds a part (FSDP2's DTensors), and the whole tensors that files hold."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor, which is gathered if processes share it: then all of them must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A whole value, of which this process keeps what it holds of the parameter. Scalars stay as they are."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


def is_sharded(model: Any) -> bool:
    """Whether processes share the model's parameters, so that all have to call it at the same time."""
    return isinstance(model, FSDPModule)


def let_generate(model: Any) -> None:
    """Let a sharded model gather for `generate` what it gathers for `forward`."""
    if is_sharded(model) and hasattr(model, "generate"):
        register_fsdp_forward_method(model, "generate")


def make_trained_whole(model: nn.Module) -> None:
    """Give every process all of the trainable parameters, and leave the frozen ones where they are.

    The model can then be saved, but not be called any more. Parameters that processes do not share stay the same.
    """
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.requires_grad and isinstance(parameter, DTensor):
                setattr(module, name, nn.Parameter(whole(parameter.detach())))
