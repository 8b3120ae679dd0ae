"""Counting parameters: what a method trains, the adapter and the head apart."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn


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


def is_bias(name: str) -> bool:
    """Whether a parameter of that name is one that a layer adds, `bias` or some `q_bias`."""
    leaf = name.rpartition(".")[2]
    return leaf == "bias" or leaf.endswith("_bias")
