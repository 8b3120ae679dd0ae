"""One linear layer on its own, for Table 3: methods are applied to a block, of which one layer is looked at."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from rocoft_bench.efficiency.bench_settings import BenchSettings

NAME = "intermediate.dense"
"""Of a block of RoBERTa's the layer whose inputs and outputs may be of any number: its role is ffn_in."""


def in_a_block(d_in: int, d_out: int) -> tuple[str, dict[str, Any]]:
    """The model that has a layer of such a size, and its configuration's changes."""
    sizes = {"hidden_size": d_in, "intermediate_size": d_out, "num_attention_heads": 1}
    return "roberta-base", {**sizes, "num_hidden_layers": 1, "vocab_size": 60}


class Alone(nn.Module):
    """The layer of a model, and as its loss the sum of what it puts out."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(loss=self.layer(x).sum())


def alone(model: nn.Module) -> Alone:
    """The layer of a model that a method has been applied to; nothing else is trained any more."""
    (layer,) = (module for name, module in model.named_modules() if name.endswith(NAME))
    own = set(layer.parameters())
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and parameter in own)
    return Alone(layer)


def made_up_input(bench: BenchSettings, config: Any, device: torch.device) -> dict[str, Tensor]:
    """x (rows, tokens, d_in), whose gradient is wanted as of a layer within a model."""
    generator = torch.Generator().manual_seed(bench.seed)
    x = torch.randn(bench.batch_size, bench.sequence_length, config.hidden_size, generator=generator)
    return {"x": x.to(device, getattr(torch, bench.dtype)).requires_grad_()}


def parameters(layer: nn.Module, d_in: int, d_out: int) -> dict[str, int]:
    """adapter: what is trained. additional: what the plain layer, its bias included, does not have."""
    trained = sum(p.numel() for p in layer.parameters() if p.requires_grad)
    total = sum(p.numel() for p in layer.parameters())
    return {"adapter": trained, "head": 0, "total": total, "additional": total - (d_in + 1) * d_out}
