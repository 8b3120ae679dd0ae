"""In which layers of a model trained values may stand for a whole forward pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from rocoft_bench.tuner.in_place import (
    ONE_AT_A_TIME,
    PLAIN_TYPES,
    StandingValues,
    is_transformed,
    keep_frozen,
    put_in,
    take_out,
)
from rocoft_bench.tuner.layer import Linear


@contextmanager
def standing_in(layers: Iterable[Linear], single_entries: bool = False) -> Iterator[None]:
    """Leaves trained values in the weights, where that can be done, so that each layer is its base layer.

    What needs the frozen ones puts them back before. single_entries: these too; what they replace, as much as they are,
    is kept of all layers at once.
    """
    put: dict[Linear, StandingValues] = {}
    try:
        with ONE_AT_A_TIME:
            candidates = () if is_transformed() else layers
            put = {layer: values for layer in candidates if (values := layer.may_be_standing(single_entries))}
            keep_frozen(put.values())
            for layer, values in put.items():
                layer.standing_values = values  # before anything is written: who interrupts this finds what to take out
            put_in(put.values())
        yield
    finally:
        with ONE_AT_A_TIME:
            still = {layer: values for layer, values in put.items() if layer.standing_values is values}
            take_out(still.values())
            for layer, values in still.items():
                layer.stands_no_more(values)


def layers_left_alone(model: nn.Module) -> list[Linear]:
    """Layers whose weight no other module has, or none where anybody could see or change weights during a pass."""
    owners: Counter[int] = Counter()
    layers: dict[Linear, int] = {}
    if _is_watched_below(model, layers, owners, set()):
        return []
    return [layer for layer, address in layers.items() if owners[address] == 1]


def _is_watched_below(module: Any, layers: dict[Linear, int], owners: Counter[int], seen: set[nn.Module]) -> bool:
    """Collects a module's layers and the owners of memory, by address. Whether one that holds layers is watched."""
    if module in seen:
        return False
    seen.add(module)
    if module._parameters:
        owners.update([p.untyped_storage().data_ptr() for p in module._parameters.values() if type(p) in PLAIN_TYPES])
    before, watched = len(layers), False
    children = module._modules
    if isinstance(module, Linear):
        children = {"": module.base_layer}  # what it trains is nobody else's
        weight: Any = getattr(module.base_layer, "weight", None)
        if type(weight) in PLAIN_TYPES:  # a quantised one may have no address
            layers[module] = weight.untyped_storage().data_ptr()
    for child in children.values():
        if child is not None and _is_watched_below(child, layers, owners, seen):
            watched = True
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
