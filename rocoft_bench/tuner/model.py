"""The tuner: finds the linear layers of a model's transformer blocks and wraps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.other import get_pattern_key
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner.config import RoCoFTConfig
from rocoft_bench.tuner.layer import RoCoFTLayer


class RoCoFTModel(BaseTuner):
    """A model whose targeted linear layers train a few rows, columns or entries of their weight.

    Made by `peft.get_peft_model(model, RoCoFTConfig(...))`.

    Raises:
        ValueError: If no `target_modules` are given and the model has no transformer blocks to find them in.
        TypeError: If a target is not a floating-point `nn.Linear` or `Conv1D`.
    """

    prefix: str = "rocoft_"
    tuner_layer_cls = RoCoFTLayer
    target_module_mapping: dict[str, list[str]] = {}

    def _prepare_adapter_config(self, peft_config: RoCoFTConfig, model_config: dict[str, Any]) -> RoCoFTConfig:
        return peft_config  # default targets come from the model's structure, see `_prepare_model`

    def _prepare_model(self, peft_config: RoCoFTConfig, model: nn.Module) -> None:
        if peft_config.target_modules is None:
            peft_config.target_modules = set(default_targets(model, peft_config.layers_to_transform))

    def _create_and_replace(
        self,
        peft_config: RoCoFTConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        pattern = get_pattern_key(list(peft_config.rank_pattern), current_key)
        rank = peft_config.rank_pattern.get(pattern, peft_config.rank)
        is_new = not isinstance(target, RoCoFTLayer)
        layer = RoCoFTLayer(_supported(target, current_key), adapter_name) if is_new else target
        layer.update_layer(adapter_name, peft_config, rank, current_key, inference_mode=peft_config.inference_mode)
        if is_new:
            if adapter_name not in self.active_adapters:
                layer.requires_grad_(False)
            self._replace_module(parent, target_name, layer, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        # Unwrapping a head saved in full must not copy a `.weight` that a head of several layers does not have.
        if isinstance(new_module, BaseTunerLayer):
            super()._replace_module(parent, child_name, new_module, child)
        else:
            setattr(parent, child_name, new_module)


def _supported(target: nn.Module, name: str) -> nn.Module:
    base = target.get_base_layer() if isinstance(target, BaseTunerLayer) else target
    if not isinstance(base, nn.Linear | Conv1D):
        raise TypeError(
            f"Target module {name} ({type(base).__name__}) is not supported. "
            "Currently, only `torch.nn.Linear` and `Conv1D` are supported."
        )
    if not base.weight.is_floating_point():
        raise TypeError(f"Target module {name} is quantised; RoCoFT needs floating-point base weights.")
    return target


def default_targets(model: nn.Module, layers: list[int] | int | None = None) -> list[str]:
    """Names of all linear layers inside the transformer blocks, found by structure.

    A block is an element of an `nn.ModuleList` that is itself made of modules; embeddings, poolers and heads stand
    outside. Covers RoBERTa, BERT, DeBERTa, BART, T5, GPT-2, GPT-J, BLOOM, LLaMA, Mistral, Qwen and their like.

    Raises:
        ValueError: If there is no such layer.
    """
    wanted = {layers} if isinstance(layers, int) else set(layers) if layers else None
    names = [
        f"{block_name}.{name}"
        for block_name, index, block in _blocks(model)
        if wanted is None or index in wanted
        for name, module in block.named_modules()
        if isinstance(_unwrapped(module), nn.Linear | Conv1D) and not _inside_tuner_layer(block, name)
    ]
    if not names:
        raise ValueError("Please specify `target_modules` in `peft_config`: the model has no blocks to find them in")
    return names


def _blocks(model: nn.Module) -> Iterator[tuple[str, int, nn.Module]]:
    """The outermost `nn.ModuleList` elements that have children: (name, index in the list, module)."""
    lists: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
            lists.append(name)
            for index, block in enumerate(module):
                if not isinstance(block, BaseTunerLayer) and any(True for _ in block.children()):
                    yield f"{name}.{index}", index, block


def _unwrapped(module: nn.Module) -> nn.Module:
    return module.get_base_layer() if isinstance(module, BaseTunerLayer) else module


def _inside_tuner_layer(block: nn.Module, name: str) -> bool:
    parents = name.split(".")[:-1]
    return any(isinstance(block.get_submodule(".".join(parents[:i])), BaseTunerLayer) for i in range(1, len(parents) + 1))


@torch.no_grad()
def calibrate(
    model: PeftModel | RoCoFTModel, batches: Iterable[Mapping[str, Tensor]], adapter_name: str = "default"
) -> None:
    """Choose the rows or columns of a scored selection ("max", "min", "mixed") from real activations (Section 6).

    Runs the frozen model once over `batches` (keyword arguments of its forward, on its device) and keeps one running
    sum of squares (d_in,) per layer, never the activations. Every position that a layer sees counts, so pass batches
    without padding. Call it once, before the optimizer's first step.

    Raises:
        ValueError: If the adapter does not exist or needs no calibration, or `batches` is empty.
    """
    config = model.peft_config.get(adapter_name)
    if config is None or not config.needs_calibration:
        raise ValueError(f"adapter {adapter_name!r} does not exist or needs no calibration")
    layers = [m for m in model.modules() if isinstance(m, RoCoFTLayer) and adapter_name in m.rocoft_weight]
    norms = _input_norms(model, layers, batches)
    for layer in layers:
        layer.reselect(adapter_name, norms[layer])
    config.calibrated = True


def _input_norms(
    model: nn.Module, layers: list[RoCoFTLayer], batches: Iterable[Mapping[str, Tensor]]
) -> dict[RoCoFTLayer, Tensor]:
    """||X_j||_2 of each layer's input features over all batches, in float32: {layer: (d_in,)}."""
    squares: dict[RoCoFTLayer, Tensor] = {}

    def accumulate(layer: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(layer, RoCoFTLayer)
        total = args[0].detach().float().reshape(-1, layer.in_features).square().sum(0)
        squares[layer] = squares[layer] + total if layer in squares else total

    training = model.training
    handles = [layer.register_forward_pre_hook(accumulate) for layer in layers]
    enabled = [not layer.disable_adapters for layer in layers]
    try:
        model.eval()
        for layer in layers:
            layer._disable_adapters = True
        for batch in batches:
            model(**batch)
    finally:
        for layer, was_enabled, handle in zip(layers, enabled, handles, strict=True):
            layer._disable_adapters = not was_enabled
            handle.remove()
        model.train(training)
    if len(squares) < len(layers):
        raise ValueError(f"the calibration batches reached {len(squares)} of {len(layers)} layers: pass at least one")
    return {layer: total.sqrt() for layer, total in squares.items()}
