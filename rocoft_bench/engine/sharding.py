"""Parameters of which every process holds a part, and the whole tensors that files hold.

FSDP2 makes them DTensors. DeepSpeed's ZeRO-3 leaves them empty, with a `ds_id`, until they are gathered.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor, which is gathered if processes share it: then all of them must call this."""
    if isinstance(tensor, DTensor):
        return tensor.full_tensor().detach()
    with _gathered(tensor):
        return tensor.detach().clone() if _is_empty(tensor) else tensor.detach()


def put(parameter: Tensor, value: Tensor) -> None:
    """Give a parameter a whole value in place, of which each process keeps what it holds. All must call it."""
    with torch.no_grad(), _gathered(parameter, change=True):
        parameter.copy_(placed_like(parameter, value))


def placed_like(parameter: Tensor, value: Tensor) -> Tensor:
    """A whole value, of which this process keeps what it holds of the parameter. Scalars stay as they are."""
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


def _is_empty(tensor: Tensor) -> bool:
    return hasattr(tensor, "ds_id")


def _gathered(tensor: Tensor, change: bool = False) -> AbstractContextManager[Any]:
    """A context in which a parameter of ZeRO-3 is there, and after which all have what the first process put there."""
    if not _is_empty(tensor):
        return nullcontext()
    import deepspeed

    return deepspeed.zero.GatheredParameters([tensor], modifier_rank=0 if change else None)


def is_sharded(model: Any) -> bool:
    """Whether processes share the model's parameters, so that all have to call it at the same time."""
    return isinstance(model, FSDPModule) or any(map(_is_empty, model.parameters()))


def let_generate(model: Any) -> None:
    """Let a sharded model gather for `generate` what it gathers for `forward`."""
    if isinstance(model, FSDPModule) and hasattr(model, "generate"):
        register_fsdp_forward_method(model, "generate")  # type: ignore[arg-type]


def make_trained_whole(model: nn.Module) -> None:
    """Give every process all of the trainable parameters, and leave the frozen ones where they are.

    The model can then be saved, but not be called any more. Parameters that processes do not share stay the same.
    """
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.requires_grad and (isinstance(parameter, DTensor) or _is_empty(parameter)):
                setattr(module, name, nn.Parameter(whole(parameter)))
