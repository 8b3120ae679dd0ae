"""The parameter sets S of Section 5, and others: which parts of which parameters a kernel is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.errors import UserError
from rocoft_bench.models import LINEAR_ROLES, target_pattern
from rocoft_bench.models.parameter_counts import is_norm
from rocoft_bench.ntk.kernel_settings import SCORED, KernelSettings
from rocoft_bench.ntk.kernels.gradient_products import ParameterSet
from rocoft_bench.ntk.kernels.views import Entries, InputScale, Lines, OutputScale, Projected, View, Whole
from rocoft_bench.tuner import default_targets
from rocoft_bench.tuner.calibration import input_norms
from rocoft_bench.tuner.selection import by_score, layer_generator, sample, wanda_scores

SCALED_INPUTS = ("attention_output", "ffn_out")
SCALED_OUTPUTS = ("key", "value")
"""Where (IA)³ has its vectors, as method ia3 has them for encoders."""


@dataclass(frozen=True)
class Parameters:
    """A model's parameters as a capturer names them.

    keys: those that a gradient reaches. trained: by their names, those that a method trains. input_norms: by draw and
    linear layer, the norm of each input feature (d_in,) over its training examples, for selections by score.
    """

    model: Any
    keys: tuple[str, ...]
    parameter_of: Callable[[str], str]
    trained: frozenset[str] = frozenset()
    input_norms: Mapping[int, Mapping[str, Tensor]] = field(default_factory=dict)

    def shape(self, key: str) -> torch.Size:
        """(d_out, d_in) of a linear layer's weight, whatever way it lies in memory; else the parameter's shape."""
        shape = self.model.get_parameter(self.parameter_of(key)).shape
        return torch.Size(reversed(shape)) if isinstance(self.module(key), Conv1D) else shape

    def module(self, key: str) -> nn.Module:
        module: nn.Module = self.model.get_submodule(self.parameter_of(key).rpartition(".")[0])
        return module

    def weight(self, name: str) -> Tensor:
        """The weight (d_out, d_in) of a linear layer."""
        module: Any = self.model.get_submodule(name)
        return module.weight.t() if isinstance(module, Conv1D) else module.weight

    def linears(self, targets: Iterable[str] | None = None) -> list[str]:
        """The linear layers of the blocks that a gradient reaches, all or those of some roles or names.

        Raises: UserError if the model has none of them.
        """
        names = [name for name in default_targets(self.model) if f"{name}.weight" in self.keys]
        if targets is not None:
            kind = self.model.config.model_type
            pattern = target_pattern(list(targets), kind)
            names = [name for name in names if re.fullmatch(pattern, name)]
            if not names:
                known = "" if kind in LINEAR_ROLES else f"; roles are known for {', '.join(sorted(LINEAR_ROLES))}"
                raise UserError(f"a {kind} model has no layers {', '.join(targets)} that the logits depend on{known}")
        return names

    @torch.no_grad()
    def with_scores(self, batches: Mapping[int, Iterable[Mapping[str, Tensor]]]) -> Parameters:
        """With norms of inputs by draw, as `tuner.calibrate` has them."""
        layers = {name: self.model.get_submodule(name) for name in self.linears()}
        device = next(self.model.parameters()).device
        found = {}
        for seed, own in batches.items():
            there = ({key: tensor.to(device) for key, tensor in batch.items()} for batch in own)
            norms = input_norms(self.model, list(layers.values()), there)
            found[seed] = {name: norms[layer] for name, layer in layers.items()}
        return replace(self, input_norms=found)

    def in_head(self, key: str) -> bool:
        """Whether it stands outside the encoder; a decoder that is tied to the embeddings does not."""
        body = {id(p) for p in self.model.base_model.parameters()}
        return key != self.parameter_of(key) or id(self.model.get_parameter(key)) not in body


def _full(own: Parameters, settings: KernelSettings) -> ParameterSet:
    def wanted(key: str) -> bool:
        if own.in_head(key):
            return settings.head
        return settings.embeddings or not isinstance(own.module(key), nn.Embedding)

    return _whole(filter(wanted, own.keys))


def _whole(keys: Iterable[str]) -> ParameterSet:
    return {key: Whole() for key in keys}


def _lines(own: Parameters, settings: KernelSettings, are_rows: bool) -> ParameterSet:
    return {f"{name}.weight": Lines(_indices(own, name, settings, are_rows), are_rows) for name in own.linears()}


def _indices(own: Parameters, name: str, settings: KernelSettings, are_rows: bool) -> tuple[int, ...]:
    weight = own.weight(name)
    size = weight.shape[0 if are_rows else 1]
    if settings.indices is not None:
        if max(settings.indices) >= size:
            raise UserError(
                f"indices: {name} has {size} such rows or columns, 0 to {size - 1}; {max(settings.indices)} is none"
            )
        return tuple(sorted(set(settings.indices)))
    count = min(settings.rank, size)
    if settings.selection == "first":
        return tuple(range(count))
    if settings.selection in SCORED:
        scores = wanda_scores(weight, own.input_norms[settings.seed][name], "row" if are_rows else "column")
        return tuple(by_score(scores, count, settings.selection).tolist())
    return tuple(sample(size, count, layer_generator(settings.seed, name)).tolist())


def _entries(own: Parameters, settings: KernelSettings) -> ParameterSet:
    views = {}
    for name in own.linears():
        rows, columns = own.weight(name).shape
        count = max(1, round(settings.fraction * rows * columns))
        chosen = sample(rows * columns, count, layer_generator(settings.seed, name)).long()
        views[f"{name}.weight"] = Entries(chosen, columns)
    return views


def _lora(own: Parameters, settings: KernelSettings) -> ParameterSet:
    """A has the distribution that PEFT draws it from: uniform within ± 1 / √d_in."""
    views: dict[str, View] = {}
    for name in own.linears(settings.lora_targets):
        weight = own.weight(name)
        width = weight.shape[1]
        if settings.lora_rank > width:
            raise UserError(f"lora_rank {settings.lora_rank}: more than the {width} columns of {name}")
        drawn = layer_generator(settings.seed, name).uniform(-(width**-0.5), width**-0.5, (settings.lora_rank, width))
        scale = settings.lora_alpha / settings.lora_rank
        views[f"{name}.weight"] = Projected(scale * torch.from_numpy(drawn).to(weight))
    return {**views, **(_whole(filter(own.in_head, own.keys)) if settings.lora_head else {})}


def _ia3(own: Parameters, _: KernelSettings) -> ParameterSet:
    views: dict[str, View] = {}
    for name in own.linears(SCALED_OUTPUTS):
        views[f"{name}.weight"] = OutputScale(own.weight(name), getattr(own.model.get_submodule(name), "bias", None))
    for name in own.linears(SCALED_INPUTS):
        views[f"{name}.weight"] = InputScale(own.weight(name))
    return views


SETS: dict[str, Callable[[Parameters, KernelSettings], ParameterSet]] = {
    "full": _full,
    "row": lambda own, settings: _lines(own, settings, are_rows=True),
    "column": lambda own, settings: _lines(own, settings, are_rows=False),
    "lora": _lora,
    "entries": _entries,
    "biases": lambda own, _: _whole(key for key in own.keys if key.endswith(".bias")),
    "norms": lambda own, _: _whole(key for key in own.keys if is_norm(own.module(key))),
    "ia3": _ia3,
    "head": lambda own, _: _whole(filter(own.in_head, own.keys)),
    "trained": lambda own, _: _whole(key for key in own.keys if own.parameter_of(key) in own.trained),
}


def make_set(name: str, own: Parameters, settings: KernelSettings) -> ParameterSet:
    """The parts of a set by the keys of the parameters that they are of.

    Raises: UserError if the model has nothing of it with a gradient.
    """
    if not (views := SETS[name](own, settings)):
        raise UserError(
            f"--kernels {name}: a {own.model.config.model_type} model has no such parameters with a gradient"
        )
    return views


def size_of(parameters: ParameterSet, own: Parameters) -> int:
    """Length of the gradients of a set."""
    return sum(view.size(own.shape(key)) for key, view in parameters.items())
