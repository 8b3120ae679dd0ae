"""What the PROPETL methods share: a prototype that all layers use, each of them through a binary mask of its own.

A layer works with prototype ⊙ M, where M = 1 at the entries with the k largest |S|, S being scores that are trained
along with the prototype (Zeng, Zhang and Lu 2023). The step function has no gradient of its own; it is passed straight
through, dL/d|S| = dL/dM, thus dL/dS = dL/dM · sign(S).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.methods.modules.wrappers import Attached


class _TopK(torch.autograd.Function):
    """1 at the `kept` largest entries and 0 elsewhere; backward is the identity."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, kept: int) -> Tensor:
        flat = values.flatten()
        return torch.zeros_like(flat).index_fill_(0, flat.topk(kept, sorted=False).indices, 1.0).view_as(values)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def masked(prototype: Tensor, scores: Tensor, kept: int) -> Tensor:
    """prototype ⊙ 1[|scores| among the `kept` largest], all of one shape; straight-through to the scores."""
    return prototype * _TopK.apply(scores.abs(), kept)


class Fixable(Attached):
    """A module that training makes something of, which alone is saved; once `fix`ed it has nothing else."""

    def made(self) -> dict[str, Tensor]:
        """That, by the names of its buffers."""
        raise NotImplementedError

    @torch.no_grad()
    def fix(self) -> None:
        """Keep it and forget what made it."""
        made = self.made()
        for name in [name for name, _ in (*self.named_parameters(recurse=False), *self.named_children())]:
            setattr(self, name, None)
        for name, tensor in made.items():
            setattr(self, name, tensor)


class Mask(Fixable):
    """One layer's mask over a prototype of the given shape.

    It has trained `scores` (float32), or, once `fix`ed, nothing but the mask itself as `bits`, eight to a byte.
    """

    scores: nn.Parameter | None
    bits: Tensor | None

    def __init__(self, shape: Sequence[int], keep: float, device: torch.device) -> None:
        super().__init__()
        self.shape = torch.Size(shape)
        self.kept = max(1, round(keep * self.shape.numel()))
        self.scores = nn.Parameter(torch.empty(self.shape, device=device, dtype=torch.float32))
        nn.init.kaiming_uniform_(self.scores, a=math.sqrt(5))
        self.register_buffer("bits", None)

    def forward(self, prototype: Tensor) -> Tensor:
        """prototype ⊙ M, in the prototype's shape."""
        if self.scores is not None:
            return masked(prototype, self.scores, self.kept)
        return prototype * self.binary().to(prototype.dtype)

    @torch.no_grad()
    def binary(self) -> Tensor:
        """M as booleans."""
        if self.scores is not None:
            return masked(torch.ones_like(self.scores), self.scores, self.kept).bool()
        assert self.bits is not None
        return unpack(self.bits, self.shape)

    def made(self) -> dict[str, Tensor]:
        return {"bits": pack(self.binary()) if self.bits is None else self.bits}


def pack(mask: Tensor) -> Tensor:
    """Booleans of any shape as a row of bytes, the first in the lowest bit."""
    flat = mask.flatten().to(torch.uint8)
    octets = nn.functional.pad(flat, (0, -len(flat) % 8)).view(-1, 8)
    return (octets << torch.arange(8, device=mask.device, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def unpack(octets: Tensor, shape: torch.Size) -> Tensor:
    """The booleans that `pack` made bytes of."""
    bits = octets.unsqueeze(1) >> torch.arange(8, device=octets.device, dtype=torch.uint8) & 1
    return bits.flatten()[: shape.numel()].view(shape).bool()


def share(modules: Sequence[nn.Module], *names: str) -> None:
    """Let all modules use the first one's parameters or submodules of these names."""
    for module in modules[1:]:
        for name in names:
            setattr(module, name, getattr(modules[0], name))


class ScoreRate(Hooks):
    """Trains the scores of all masks at a rate of their own, without decay: only their order counts."""

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def group_options(self, name: str) -> dict[str, float]:
        return {"learning_rate": self.learning_rate, "weight_decay": 0.0} if name.endswith(".scores") else {}
