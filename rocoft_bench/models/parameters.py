"""Counting parameters: what a method trains, the adapter and the head apart."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.models.layouts import target_pattern


@dataclass(frozen=True)
class LinearShape:
    """A linear layer inside a transformer block; the weight is (d_out, d_in)."""

    name: str
    d_in: int
    d_out: int
    has_bias: bool


@dataclass(frozen=True)
class ModelShapes:
    """What the parameter formulas of the methods need to know of a model.

    linears: those of the transformer blocks. hidden_size: width of the residual stream. norm_sizes: parameters of each
    normalisation layer outside the head. biases, total: parameters outside the head, all biases and all in all;
    tensors: how many tensors those are.
    """

    model_type: str
    hidden_size: int
    is_encoder_decoder: bool
    linears: tuple[LinearShape, ...]
    norm_sizes: tuple[int, ...]
    biases: int
    total: int
    tensors: int
    head: int

    def targeted(self, targets: Sequence[str] | str | None) -> list[LinearShape]:
        """The linear layers that `target_modules` names (roles, endings or a regular expression); None for all."""
        if targets is None:
            return list(self.linears)
        pattern = re.compile(target_pattern(targets, self.model_type))
        return [linear for linear in self.linears if pattern.fullmatch(linear.name)]


@dataclass(frozen=True)
class ParameterCounts:
    """`adapter_*` and `head` are trained; `total` is the whole model, with what the method added."""

    adapter_weights: int
    adapter_biases: int
    head: int
    trainable: int
    total: int

    @property
    def adapter(self) -> int:
        return self.adapter_weights + self.adapter_biases

    def as_record(self) -> dict[str, int]:
        return {"adapter": self.adapter, **asdict(self)}


def block_linears(model: nn.Module) -> list[LinearShape]:
    """The linear layers inside the model's transformer blocks, in order. The model may be on the meta device."""
    from rocoft_bench.tuner import default_targets

    shapes = []
    for name in default_targets(model):
        module: Any = model.get_submodule(name)
        matrix = module.weight.t() if isinstance(module, Conv1D) else module.weight
        d_out, d_in = matrix.shape
        shapes.append(LinearShape(name, d_in, d_out, module.bias is not None))
    return shapes


def shapes_of(model: Any, has_head: bool) -> ModelShapes:
    """The shapes of a model that no method has been applied to; it may be on the meta device."""
    heads = head_parameter_names(model) if has_head else set()
    body = {name: p.numel() for name, p in model.named_parameters() if name not in heads}
    norms = [module for module in model.modules() if is_norm(module)]
    return ModelShapes(
        model_type=model.config.model_type,
        hidden_size=model.config.hidden_size,
        is_encoder_decoder=bool(model.config.is_encoder_decoder),
        linears=tuple(block_linears(model)),
        norm_sizes=tuple(sum(p.numel() for p in norm.parameters()) for norm in norms),
        biases=sum(size for name, size in body.items() if _is_bias(name)),
        total=sum(body.values()),
        tensors=len(body),
        head=sum(p.numel() for name, p in model.named_parameters() if name in heads),
    )


def is_norm(module: nn.Module) -> bool:
    """LayerNorm, RMSNorm and the like, whatever an architecture's own class is called."""
    return type(module).__name__.lower().endswith("norm")


def count_parameters(model: Any, has_head: bool = True) -> ParameterCounts:
    """Count a model to which a method has been applied; a language model has no task head to count apart."""
    head_names = head_parameter_names(model) if has_head else set()
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = sum(count for name, count in trained.items() if name in head_names)
    biases = sum(count for name, count in trained.items() if name not in head_names and _is_bias(name))
    trainable = sum(trained.values())
    return ParameterCounts(
        adapter_weights=trainable - head - biases,
        adapter_biases=biases,
        head=head,
        trainable=trainable,
        total=sum(_size(p) for p in model.parameters()),
    )


def head_parameter_names(model: Any) -> set[str]:
    """Parameters of the task head: PEFT's trained copy of it, or whatever stands outside the encoder."""
    names = [name for name, _ in model.named_parameters()]
    copies = {name for name in names if ".modules_to_save." in name}
    if copies:
        return copies
    encoder = {id(p) for p in model.base_model.parameters()} if hasattr(model, "base_model_prefix") else set()
    return {name for name, p in model.named_parameters() if encoder and id(p) not in encoder}


def _size(parameter: nn.Parameter) -> int:
    """Its number of values, also where bitsandbytes packs two of them into a byte."""
    packed = getattr(parameter, "quant_state", None)
    return parameter.numel() if packed is None else packed.shape.numel()


def _is_bias(name: str) -> bool:
    return name.endswith(".bias") or ".rocoft_bias." in name
