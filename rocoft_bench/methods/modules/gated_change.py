"""Diff pruning's changes of parameters, behind hard-concrete gates (Louizos et al. 2018), put into a model by
parametrisation; and its part in the training loop."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rocoft_bench.engine.hooks import Hooks

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
        full = partial(torch.full, dtype=torch.float32, device=like.device)
        self.change = nn.Parameter(full(like.shape, 0.0))  # w
        self.log_alpha = nn.Parameter(full(like.shape, INITIAL_LOG_ALPHA))
        self.tensor_log_alpha = nn.Parameter(full((1,), INITIAL_LOG_ALPHA))
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

    def sparse(self) -> dict[str, Tensor]:
        """Flat `indices` and `values` of the entries that differ after pruning (before, of all that are not 0)."""
        values = self.difference().detach().flatten()
        kept = values != 0 if self.mask is None else self.mask.flatten()
        indices = kept.nonzero().squeeze(1)
        return {"indices": indices.to(torch.int32), "values": values[indices]}

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


def add_entries(parameter: Tensor, indices: Tensor, values: Tensor) -> None:
    """Add values at flat places, in float32.

    Raises: ValueError if the sum is not finite in the parameter's precision.
    """
    flat, places = parameter.view(-1), indices.to(parameter.device).long()
    changed = (flat[places].float() + values.to(parameter.device)).to(parameter.dtype)
    if not torch.isfinite(changed).all():
        raise ValueError("a merged weight is not finite")
    flat[places] = changed


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


@dataclass(eq=False)
class Stages(Hooks):
    """The first stage learns changes and gates, the second the changes that are left; each has its own schedule.

    The numbers are the method's settings of these names.
    """

    changes: dict[str, GatedChange]
    total_steps: int
    mask_share: float
    sparsity: float
    l0_penalty: float
    gate_learning_rate: float
    fixed_mask_rate: float

    def __post_init__(self) -> None:
        self.gated_steps = min(max(1, round(self.mask_share * self.total_steps)), self.total_steps - 1)

    @property
    def fixed(self) -> bool:
        return any(change.mask is not None for change in self.changes.values())

    def group_options(self, name: str) -> dict[str, float]:
        if name.endswith("log_alpha"):
            return {"learning_rate": self.gate_learning_rate, "weight_decay": 0.0}
        return {}

    def stage(self, step: int, total_steps: int) -> tuple[int, int]:
        if step < self.gated_steps:
            return step, self.gated_steps
        return step - self.gated_steps, total_steps - self.gated_steps

    def rate_scale(self, step: int) -> float:
        return 1.0 if step < self.gated_steps else self.fixed_mask_rate

    def before_step(self, step: int) -> None:
        if step <= self.gated_steps:
            for change in self.changes.values():
                change.sample()
        elif not self.fixed:
            self._prune()

    def extra_loss(self) -> Tensor | None:
        if self.fixed:
            return None
        return self.l0_penalty * torch.cat([change.expected_l0() for change in self.changes.values()]).sum()

    @torch.no_grad()
    def _prune(self) -> None:
        """Keep the largest changes of the whole model, and start the optimizer afresh."""
        changes = list(self.changes.values())
        magnitudes = [change.difference().abs().flatten() for change in changes]
        masks = largest(magnitudes, round(self.sparsity * sum(map(len, magnitudes))))
        for change, mask in zip(changes, masks, strict=True):
            change.fix(mask.view_as(change.change))
        self.optimizer.state.clear()

    def state(self) -> dict[str, Tensor]:
        return {name: change.mask for name, change in self.changes.items() if change.mask is not None}

    def restore(self, state: dict[str, Tensor]) -> None:
        for name, mask in state.items():
            self.changes[name].mask = mask.to(self.changes[name].change.device)


def largest(vectors: list[Tensor], count: int) -> list[Tensor]:
    """For each vector, where it has some of the `count` largest numbers of all vectors."""
    together = torch.cat(vectors)
    mask = torch.zeros_like(together, dtype=torch.bool)
    mask[together.topk(count, sorted=False).indices] = True
    return list(mask.split([len(vector) for vector in vectors]))
