"""A new adapter whose changes are the weighted sum of those of others."""

from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from peft.utils.other import ModulesToSaveWrapper
from torch import Tensor

from rocoft_bench.tuner.config import RoCoFTConfig
from rocoft_bench.tuner.layer import RoCoFTLayer


@torch.no_grad()
def add_weighted(model: Any, adapters: list[str], weights: list[float], adapter_name: str) -> None:
    """Add an adapter that trains the union of what `adapters` train, and there has W plus their weighted changes.

    Raises:
        ValueError: If an adapter does not exist, the new one does, they are of several modes, several have modules that
            are saved in full, or single entries are not the same ones.
    """
    configs: dict[str, Any] = model.peft_config
    _check(model, adapters, weights, adapter_name)
    layers = {
        name: module
        for name, module in model.model.named_modules()
        if isinstance(module, RoCoFTLayer) and module.rocoft_adapter.keys() & set(adapters)
    }
    unions = {name: _union(layer, adapters) for name, layer in layers.items()}
    configs[adapter_name] = _config([configs[name] for name in adapters], layers, unions)
    model.inject_adapter(model.model, adapter_name)
    for name, layer in layers.items():
        with layer.frozen():
            _fill(layer, unions[name], dict(zip(adapters, weights, strict=True)), adapter_name)
    for module in model.model.modules():
        if isinstance(module, ModulesToSaveWrapper):
            for name in module.modules_to_save.keys() & set(adapters):
                module.modules_to_save[adapter_name].load_state_dict(module.modules_to_save[name].state_dict())


def _check(model: Any, adapters: list[str], weights: list[float], adapter_name: str) -> None:
    configs = model.peft_config
    if unknown := [name for name in adapters if name not in configs]:
        raise ValueError(f"Adapter {unknown[0]} does not exist")
    if not adapters or len(adapters) != len(weights) or len(set(adapters)) < len(adapters):
        raise ValueError(f"{len(weights)} weights for the adapters {adapters}: give one for each, each adapter once")
    if with_parameters := [name for name in adapters if configs[name].target_parameters]:
        raise ValueError(
            f"adapter {with_parameters[0]!r} has target_parameters, which are not weighted: merge it instead"
        )
    if adapter_name in configs:
        raise ValueError(f"there is an adapter {adapter_name!r} already: delete it first, or choose another name")
    if len(modes := {configs[name].mode for name in adapters}) > 1:
        raise ValueError(
            f"adapters of modes {', '.join(sorted(modes))} make no adapter of one mode: merge them instead"
        )
    full = [m for m in model.model.modules() if isinstance(m, ModulesToSaveWrapper)]
    if any(len(module.modules_to_save.keys() & set(adapters)) > 1 for module in full):
        raise ValueError("Cannot add weighted adapters if they target the same module with modules_to_save")


def _union(layer: RoCoFTLayer, adapters: list[str]) -> Tensor:
    """The indices that any of the adapters has, kept ones too, ascending."""
    present = [name for name in adapters if name in layer.rocoft_adapter]
    layer._check_calibrated(present)
    each = [layer.entries(name).all_indices for name in present]
    union = torch.cat(each).unique()
    if (first := layer.entries(present[0])).mode == "random" and len(union) != len(first.indices):
        raise ValueError(
            "the adapters train other single entries, or keep some, which make no adapter: merge them instead"
        )
    return union


def _config(configs: list[RoCoFTConfig], layers: dict[str, RoCoFTLayer], unions: dict[str, Tensor]) -> RoCoFTConfig:
    """Of the union: its layers by name, and their ranks."""
    settings: dict[str, Any] = {
        "target_modules": set(layers),
        "modules_to_save": next((config.modules_to_save for config in configs if config.modules_to_save), None),
        "train_bias": any(config.train_bias for config in configs),
        **dict.fromkeys(("exclude_modules", "layers_to_transform", "layers_pattern")),
    }
    if configs[0].mode in ("row", "column"):
        ranks = {name: len(union) for name, union in unions.items()}
        rank = Counter(ranks.values()).most_common(1)[0][0]
        settings |= {"rank": rank, "rank_pattern": {name: other for name, other in ranks.items() if other != rank}}
    return replace(configs[0], **settings)


def _fill(layer: RoCoFTLayer, union: Tensor, weights: dict[str, float], adapter_name: str) -> None:
    new = layer.entries(adapter_name)
    new.indices.copy_(union)
    values = layer._read(adapter_name).to(new.weight.dtype)
    if new.bias is not None:
        new.bias.copy_(layer.bias)
    for name, weight in weights.items():
        if name in layer.rocoft_adapter:
            places = torch.searchsorted(union, layer.entries(name).all_indices)
            values.index_add_(0 if new.mode == "random" else -2, places, weight * layer.delta(name))
            if new.bias is not None and (trained := layer.entries(name).bias) is not None:
                new.bias.add_(weight * (trained - layer.bias))
    new.weight.copy_(values)
