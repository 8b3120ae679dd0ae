"""Counting parameters: what a method trains, the adapter and the head apart."""

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class ParameterCounts:
    """`adapter` (weights and biases) and `head` are trained; `total` is the whole model, with what the method added."""

    adapter: int
    adapter_weights: int
    adapter_biases: int
    head: int
    trainable: int
    total: int


def is_norm(module: nn.Module) -> bool:
    """LayerNorm, RMSNorm and the like, whatever an architecture's own class is called."""
    return type(module).__name__.lower().endswith("norm")


def count_parameters(model: Any, has_head: bool = True) -> ParameterCounts:
    """Count a model to which a method has been applied; a language model has no task head to count apart."""
    head_names = head_parameter_names(model) if has_head else set()
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = sum(count for name, count in trained.items() if name in head_names)
    biases = sum(count for name, count in trained.items() if name not in head_names and is_bias(name))
    trainable = sum(trained.values())
    return ParameterCounts(
        adapter=trainable - head,
        adapter_weights=trainable - head - biases,
        adapter_biases=biases,
        head=head,
        trainable=trainable,
        total=sum(_size(p) for p in model.parameters()),
    )


def head_parameter_names(model: Any) -> set[str]:
    """Parameters of the task head: whatever stands outside the encoder, with what PEFT has put there."""
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not hasattr(plain, "base_model_prefix"):
        return set()
    head = {id(p) for p in plain.parameters()} - {id(p) for p in plain.base_model.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in head}


def _size(parameter: nn.Parameter) -> int:
    """Its number of values, also where bitsandbytes packs two of them into a byte."""
    packed = getattr(parameter, "quant_state", None)
    return parameter.numel() if packed is None else packed.shape.numel()


def is_bias(name: str) -> bool:
    """Whether a parameter of that name is one that a layer adds, `bias` or some `q_bias`."""
    leaf = name.rpartition(".")[2]
    return leaf == "bias" or leaf.endswith("_bias")
