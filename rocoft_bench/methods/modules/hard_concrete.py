"""Changes of parameters behind hard-concrete gates (Louizos et al. 2018), put into a model by parametrisation."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

LOWER, UPPER = -1.5, 1.5
"""l and r: the interval that gates are stretched to before they are clamped to [0, 1]."""

INITIAL_LOG_ALPHA = 5.0

UNIFORM_MARGIN = 1e-4
"""Uniform numbers keep this distance from 0 and 1."""


class GatedChange(nn.Module):
    """θ₀ -> θ₀ + z z_τ ⊙ w: one gate for each entry and one for the tensor; or, once fixed, θ₀ + mask ⊙ w.

    The gates are random while the module trains and deterministic otherwise. All tensors are in float32 and in the
    shape of θ₀ but for the tensor's own gate, which is (1,).
    """

    noise: tuple[Tensor, Tensor] | None = None
    """log u - log(1 - u) of the entries' gates and of the tensor's, u uniform in (0, 1); without it, u is 1/2."""
    mask: Tensor | None

    def __init__(self, like: Tensor) -> None:
        super().__init__()

        def filled(shape: Any, value: float) -> nn.Parameter:
            return nn.Parameter(torch.full(shape, value, dtype=torch.float32, device=like.device))

        self.change = filled(like.shape, 0.0)  # w
        self.log_alpha = filled(like.shape, INITIAL_LOG_ALPHA)
        self.tensor_log_alpha = filled((1,), INITIAL_LOG_ALPHA)
        self.register_buffer("mask", None, persistent=False)

    def forward(self, original: Tensor) -> Tensor:
        noise = self.noise if self.training and self.noise is not None else (0.0, 0.0)
        return (original + self.difference(*noise)).to(original.dtype)

    def difference(self, entries: Tensor | float = 0.0, tensor: Tensor | float = 0.0) -> Tensor:
        """θ - θ₀, before it is rounded to the precision of θ₀, with this noise of the gates."""
        if self.mask is not None:
            return self.change * self.mask
        return self.change * hard_concrete(self.log_alpha, entries) * hard_concrete(self.tensor_log_alpha, tensor)

    @torch.no_grad()
    def sample(self) -> None:
        """Draw the noise that training uses until the next call."""
        self.noise = logistic_like(self.log_alpha), logistic_like(self.tensor_log_alpha)

    def expected_l0(self) -> Tensor:
        """The expected number of entries whose gates are both open, (1,)."""
        return open_probability(self.log_alpha).sum() * open_probability(self.tensor_log_alpha)

    @torch.no_grad()
    def fix(self, mask: Tensor) -> None:
        """Keep the difference where the mask is true, trained without gates from now on."""
        self.change.copy_(self.difference() * mask)
        self.mask, self.noise = mask, None


def hard_concrete(log_alpha: Tensor, noise: Tensor | float) -> Tensor:
    """Gates in [0, 1], both ends included."""
    return (torch.sigmoid(noise + log_alpha) * (UPPER - LOWER) + LOWER).clamp(0.0, 1.0)


def open_probability(log_alpha: Tensor) -> Tensor:
    """The probability that a gate is above 0."""
    return torch.sigmoid(log_alpha - math.log(-LOWER / UPPER))


def logistic_like(tensor: Tensor) -> Tensor:
    return torch.rand_like(tensor).clamp_(UNIFORM_MARGIN, 1 - UNIFORM_MARGIN).logit_()


def gate_frozen(model: nn.Module) -> None:
    """Put a `GatedChange` on every frozen parameter; parameters that modules share have one together."""
    changes: dict[int, GatedChange] = {}
    for module in list(model.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.requires_grad:
                continue
            if id(parameter) not in changes:
                changes[id(parameter)] = GatedChange(parameter)
            parametrize.register_parametrization(module, name, changes[id(parameter)], unsafe=True)


def ungate(model: nn.Module) -> None:
    """Take the gated changes out again; the parameters are as they were without them."""
    for module in list(model.modules()):
        for name in [name for name, _ in _gated(module)]:
            parametrize.remove_parametrizations(module, name, leave_parametrized=False)


def gated_changes(model: nn.Module) -> dict[str, GatedChange]:
    """By the names that the parameters have without the changes; a shared one is there once."""
    found: dict[GatedChange, str] = {}
    for prefix, module in model.named_modules():
        for name, change in _gated(module):
            found.setdefault(change, f"{prefix}.{name}" if prefix else name)
    return {name: change for change, name in found.items()}


def _gated(module: nn.Module) -> Iterator[tuple[str, GatedChange]]:
    """Names of a module's own parameters that have a change, and the changes."""
    if parametrize.is_parametrized(module):
        for name, functions in module.parametrizations.items():  # type: ignore[operator, union-attr]
            if isinstance(functions[0], GatedChange):
                yield name, functions[0]
