"""The parameter sets S of Section 5, and others: which parts of which parameters a kernel is made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.errors import UserError, suggest
from rocoft_bench.models import LINEAR_ROLES, is_norm, target_pattern
from rocoft_bench.ntk.kernels.engine import ParameterSet
from rocoft_bench.ntk.kernels.views import Columns, Entries, InputScale, OutputScale, Projected, Rows, View, Whole
from rocoft_bench.tuner import default_targets
from rocoft_bench.tuner.selection import layer_generator, sample

SCALED_INPUTS = ("attention_output", "ffn_out")
SCALED_OUTPUTS = ("key", "value")
"""Where (IA)³ has its vectors, as method ia3 has them for encoders."""


@dataclass(frozen=True)
class Choices:
    """What the sets leave open.

    count, selection: how many rows or columns, the first or random ones. fraction: of a weight's entries. lora_*: rank,
    alpha, targets (roles or names) and whether the head belongs to it too. embeddings, head: whether K_full has them.
    seed: of everything random.
    """

    count: int = 1
    selection: str = "first"
    fraction: float = 0.1
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_targets: tuple[str, ...] = ("query", "value")
    lora_head: bool = False
    embeddings: bool = True
    head: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Parameters:
    """A model's parameters as a capturer names them.

    keys: those that a gradient reaches. trained: by their names, those that a method trains.
    """

    model: Any
    keys: tuple[str, ...]
    parameter_of: Callable[[str], str]
    trained: frozenset[str] = frozenset()

    def shape(self, key: str) -> torch.Size:
        """(d_out, d_in) of a linear layer's weight, whatever way it lies in memory; else the parameter's shape."""
        name = self.parameter_of(key)
        shape = self.model.get_parameter(name).shape
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

        Raises:
            UserError: If the model has none of them.
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

    def in_head(self, key: str) -> bool:
        """Whether it stands outside the encoder; a decoder that is tied to the embeddings does not."""
        body = {id(p) for p in self.model.base_model.parameters()}
        return key != self.parameter_of(key) or id(self.model.get_parameter(key)) not in body


def _full(own: Parameters, choices: Choices) -> ParameterSet:
    def wanted(key: str) -> bool:
        if not choices.head and own.in_head(key):
            return False
        return choices.embeddings or own.in_head(key) or not isinstance(own.module(key), nn.Embedding)

    return _whole(filter(wanted, own.keys))


def _whole(keys: Iterable[str]) -> ParameterSet:
    return {key: Whole() for key in keys}


def _rows(own: Parameters, choices: Choices) -> ParameterSet:
    return {f"{name}.weight": Rows(_indices(own.weight(name).shape[0], name, choices)) for name in own.linears()}


def _columns(own: Parameters, choices: Choices) -> ParameterSet:
    return {f"{name}.weight": Columns(_indices(own.weight(name).shape[1], name, choices)) for name in own.linears()}


def _indices(size: int, name: str, choices: Choices) -> tuple[int, ...]:
    count = min(choices.count, size)
    if choices.selection == "first":
        return tuple(range(count))
    return tuple(sample(size, count, layer_generator(choices.seed, name)).tolist())


def _entries(own: Parameters, choices: Choices) -> ParameterSet:
    views = {}
    for name in own.linears():
        rows, columns = own.weight(name).shape
        count = max(1, round(choices.fraction * rows * columns))
        chosen = sample(rows * columns, count, layer_generator(choices.seed, name)).long()
        views[f"{name}.weight"] = Entries(chosen, columns)
    return views


def _lora(own: Parameters, choices: Choices) -> ParameterSet:
    """A has the distribution that PEFT draws it from: uniform within ± 1 / √d_in."""
    views: dict[str, View] = {}
    for name in own.linears(choices.lora_targets):
        weight = own.weight(name)
        width = weight.shape[1]
        drawn = layer_generator(choices.seed, name).uniform(-(width**-0.5), width**-0.5, (choices.lora_rank, width))
        scale = choices.lora_alpha / choices.lora_rank
        views[f"{name}.weight"] = Projected(scale * torch.from_numpy(drawn).to(weight))
    return {**views, **(_head(own, choices) if choices.lora_head else {})}


def _biases(own: Parameters, choices: Choices) -> ParameterSet:
    return _whole(key for key in own.keys if key.endswith(".bias"))


def _norms(own: Parameters, choices: Choices) -> ParameterSet:
    return _whole(key for key in own.keys if is_norm(own.module(key)))


def _ia3(own: Parameters, choices: Choices) -> ParameterSet:
    views: dict[str, View] = {}
    for name in own.linears(SCALED_OUTPUTS):
        views[f"{name}.weight"] = OutputScale(own.weight(name), getattr(own.model.get_submodule(name), "bias", None))
    for name in own.linears(SCALED_INPUTS):
        views[f"{name}.weight"] = InputScale(own.weight(name))
    return views


def _head(own: Parameters, choices: Choices) -> ParameterSet:
    return _whole(filter(own.in_head, own.keys))


def _trained(own: Parameters, choices: Choices) -> ParameterSet:
    return _whole(key for key in own.keys if own.parameter_of(key) in own.trained)


SETS: dict[str, Callable[[Parameters, Choices], ParameterSet]] = {
    "full": _full,
    "row": _rows,
    "column": _columns,
    "lora": _lora,
    "entries": _entries,
    "biases": _biases,
    "norms": _norms,
    "ia3": _ia3,
    "head": _head,
    "trained": _trained,
}


def make_set(name: str, own: Parameters, choices: Choices) -> ParameterSet:
    """The parts of a set by the keys of the parameters that they are of.

    Raises:
        UserError: If there is no set of that name, or the model has nothing of it with a gradient.
    """
    if name not in SETS:
        raise UserError(f'--kernels: unknown kernel "{name}"; {suggest(name, SETS)}')
    views = SETS[name](own, choices)
    if not views:
        raise UserError(
            f"--kernels {name}: a {own.model.config.model_type} model has no such parameters with a gradient"
        )
    return views


def size_of(parameters: ParameterSet, own: Parameters) -> int:
    """Length of the gradients of a set."""
    return sum(view.size(own.shape(key)) for key, view in parameters.items())
