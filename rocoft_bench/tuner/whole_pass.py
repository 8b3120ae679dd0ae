"""In which layers of a model trained values may stand for a whole forward pass."""

from __future__ import annotations

from collections import Counter
from typing import Any

from torch import nn

from rocoft_bench.tuner.in_place import PLAIN_TYPES
from rocoft_bench.tuner.layer import Linear


def layers_left_alone(model: nn.Module) -> list[Linear]:
    """Layers whose weight no other module has, or none where anybody could see or change weights during a pass."""
    owners: Counter[int] = Counter()
    layers: list[Linear] = []
    if _is_watched_below(model, layers, owners, set()):
        return []
    return [layer for layer in layers if owners[_address(layer.get_base_layer().weight)] == 1]


def _is_watched_below(module: nn.Module, layers: list[Linear], owners: Counter[int], seen: set[nn.Module]) -> bool:
    """Collects a module's layers and the owners of its weights. Whether one that holds layers is watched."""
    if module in seen:
        return False
    seen.add(module)
    owners.update(_address(p) for p in module._parameters.values() if type(p) in PLAIN_TYPES)
    before, watched = len(layers), False
    if isinstance(module, Linear) and type(getattr(module.get_base_layer(), "weight", None)) in PLAIN_TYPES:
        layers.append(module)  # not of a quantised weight, which may have no address
    for child in module._modules.values():
        watched |= child is not None and _is_watched_below(child, layers, owners, seen)
    return watched or (len(layers) > before and _is_watched(module))


def _is_watched(module: Any) -> bool:
    """Whether others run before or after a module: hooks, which may load weights, a compiler, parallel replicas."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or "forward" in module.__dict__
        or module._compiled_call_impl is not None
        or {"_orig_mod", "_fsdp_wrapped_module"} & module._modules.keys()  # of torch.compile and FSDP
        or isinstance(module, nn.DataParallel)
    )


def _address(weight: Any) -> int:
    address: int = weight.untyped_storage().data_ptr()
    return address
