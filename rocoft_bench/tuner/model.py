"""The tuner: finds the linear layers of a model's transformer blocks and wraps them."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils.other import get_pattern_key
from peft.utils.quantization_utils import resolve_quantization_backend
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner.config import RoCoFTConfig
from rocoft_bench.tuner.layer import Linear, RoCoFTLayer


class RoCoFTModel(BaseTuner):
    """A model whose targeted linear layers train a few rows, columns or entries of their weight.

    Made by `peft.get_peft_model(model, RoCoFTConfig(...))`.

    Raises:
        ValueError: If no `target_modules` are given and the model has no transformer blocks to find them in.
        TypeError: If a target is not a floating-point `nn.Linear` or `Conv1D`.
    """

    prefix: str = "rocoft_"
    tuner_layer_cls = RoCoFTLayer
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 (unused: targets are found by structure)

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> RoCoFTConfig:
        return peft_config  # default targets come from the model's structure, see `_prepare_model`

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:
        if peft_config.target_modules is None:
            names = default_targets(model, peft_config.layers_to_transform, peft_config.layers_pattern)
            peft_config.target_modules = set(names)

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        pattern = get_pattern_key(list(peft_config.rank_pattern), current_key)
        rank = peft_config.rank_pattern.get(pattern, peft_config.rank)
        layer = target if isinstance(target, RoCoFTLayer) else Linear(_supported(target, current_key), adapter_name)
        layer.update_layer(adapter_name, peft_config, rank, current_key, inference_mode=peft_config.inference_mode)
        if layer is not target:
            if adapter_name not in self.active_adapters:
                layer.requires_grad_(False)
            self._replace_module(parent, target_name, layer, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        # PEFT's own also copies `.weight` when it unwraps a module, which fails for a head made of several layers.
        setattr(parent, child_name, new_module)


def _supported(target: nn.Module, name: str) -> nn.Module:
    base = _unwrapped(target)
    if not isinstance(base, nn.Linear | Conv1D):
        raise TypeError(
            f"Target module {name} ({type(base).__name__}) is not supported. "
            "Currently, only `torch.nn.Linear` and `Conv1D` are supported."
        )
    if not base.weight.is_floating_point() or resolve_quantization_backend(base, get_apply_tensor_subclass=object):
        raise TypeError(f"Target module {name} is quantised; RoCoFT needs floating-point base weights.")
    return target


def default_targets(
    model: nn.Module, layers: list[int] | int | None = None, layers_pattern: list[str] | str | None = None
) -> list[str]:
    """Names of all linear layers inside the transformer blocks, found by structure.

    A block is an element of an `nn.ModuleList` that is itself made of modules; embeddings, poolers and heads stand
    outside. Covers RoBERTa, BERT, DeBERTa, BART, T5, GPT-2, GPT-J, BLOOM, LLaMA, Mistral, Qwen and their like.
    `layers` keeps only blocks with these indices, `layers_pattern` only those in lists of these names.

    Raises:
        ValueError: If there is no such layer.
    """
    wanted = {layers} if isinstance(layers, int) else set(layers or ())
    lists = [layers_pattern] if isinstance(layers_pattern, str) else layers_pattern or [".*"]
    names = [
        f"{list_name}.{index}.{name}"
        for list_name, index, block in _blocks(model)
        if (not wanted or index in wanted) and any(re.fullmatch(rf"(.*\.)?{p}", list_name) for p in lists)
        for name in _linears(block)
    ]
    if not names:
        raise ValueError("Please specify `target_modules` in `peft_config`: the model has no blocks to find them in")
    return names


def _blocks(model: nn.Module) -> Iterator[tuple[str, int, nn.Module]]:
    """The outermost `nn.ModuleList` elements that have children: (name of the list, index in it, module)."""
    lists: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(name.startswith(f"{outer}.") for outer in lists):
            lists.append(name)
            for index, block in enumerate(module):
                if not isinstance(block, BaseTunerLayer) and any(True for _ in block.children()):
                    yield name, index, block


def _linears(module: nn.Module, prefix: str = "") -> Iterator[str]:
    """Names of the linear layers in a module; those wrapped by an adapter count, those inside an adapter do not."""
    for name, child in module.named_children():
        if isinstance(_unwrapped(child), nn.Linear | Conv1D):
            yield prefix + name
        elif not isinstance(child, BaseTunerLayer):
            yield from _linears(child, f"{prefix}{name}.")


def _unwrapped(module: nn.Module) -> Any:
    return module.get_base_layer() if isinstance(module, BaseTunerLayer) else module


@torch.no_grad()
def calibrate(
    model: PeftModel | RoCoFTModel, batches: Iterable[Mapping[str, Tensor]], adapter_name: str = "default"
) -> None:
    """Choose the rows or columns of a scored selection ("max", "min", "mixed") from real activations (Section 6).

    Runs the frozen model once over `batches` (keyword arguments of its forward, on its device) and keeps one running
    sum of squares (d_in,) per layer, never the activations. Every position that a layer sees counts, so pass batches
    without padding. Call it once, before the optimizer's first step.

    Raises:
        ValueError: If the adapter does not exist or needs no calibration, or a layer saw none of the `batches`.
    """
    config: Any = model.peft_config.get(adapter_name)
    if config is None or not config.needs_calibration:
        raise ValueError(f"adapter {adapter_name!r} does not exist or needs no calibration")
    layers = [m for m in model.modules() if isinstance(m, RoCoFTLayer) and adapter_name in m.rocoft_weight]
    norms = _input_norms(model, layers, batches)
    config = model.peft_config[adapter_name] = copy.copy(config)  # another adapter may share the original
    config.calibrated = True
    for layer in layers:
        layer.reselect(adapter_name, config, norms[layer])


def _input_norms(
    model: nn.Module, layers: list[RoCoFTLayer], batches: Iterable[Mapping[str, Tensor]]
) -> dict[RoCoFTLayer, Tensor]:
    """||X_j||_2 of each layer's input features over all batches, in float32: {layer: (d_in,)}."""
    squares: dict[RoCoFTLayer, Tensor] = {}

    def accumulate(layer: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(layer, RoCoFTLayer)
        total = args[0].detach().float().reshape(-1, layer.in_features).square().sum(0)
        squares[layer] = squares[layer] + total if layer in squares else total

    handles = [layer.register_forward_pre_hook(accumulate) for layer in layers]
    try:
        with _frozen_in_eval_mode(model):
            for batch in batches:
                model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    if len(squares) < len(layers):
        raise ValueError(f"the calibration batches reached {len(squares)} of {len(layers)} layers: pass at least one")
    return {layer: total.sqrt() for layer, total in squares.items()}


@contextmanager
def _frozen_in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Adapters off and evaluation mode on, with every module put back as it was."""
    training = [(module, module.training) for module in model.modules()]
    disabled = [(m, m.disable_adapters) for m in model.modules() if isinstance(m, RoCoFTLayer)]
    try:
        model.eval()
        for layer, _ in disabled:
            layer._disable_adapters = True
        yield
    finally:
        for layer, was_disabled in disabled:
            layer._disable_adapters = was_disabled
        for module, was_training in training:
            module.training = was_training
