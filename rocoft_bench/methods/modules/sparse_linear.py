"""SFT's linear layers, of which single entries are trained and exchanged for others that promise more; its optimizer
and its part in the training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.methods.modules.wrappers import Wrapped
from rocoft_bench.tuner.functional import entry_linear
from rocoft_bench.tuner.selection import read, sample, write


class SparseLinear(Wrapped):
    """y = x (W + Δ)ᵀ + b, where Δ is `values` (n,) at the flat `indices` (n,) of W, row by row, and zero elsewhere."""

    indices: Tensor

    def __init__(self, base_layer: Any, count: int) -> None:
        super().__init__(base_layer)
        self.values = self.new_parameter(count)
        self.register_buffer("indices", torch.zeros(count, dtype=torch.int32, device=self.weight.device))
        self.candidates: Candidates | None = None
        self.collecting = False
        """Whether backward passes look for candidates, and then add up their gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        y = entry_linear(x, self.matrix, self.bias, self.values, self.indices)
        return _PassDenseGradient.apply(y, x, self._collect) if self.collecting else y

    def _collect(self, gradient: Tensor) -> None:
        """Hand a backward pass's dense gradient (d_out, d_in) to the candidates: its largest entries, at first."""
        flat = gradient.flatten()
        if self.candidates is None:
            largest = flat.abs().topk(len(self.indices), sorted=False).indices
            self.candidates = Candidates(largest.to(torch.int32))
        self.candidates.add(flat)

    @torch.no_grad()
    def reselect(self, share: float, candidates: Candidates) -> tuple[Tensor, Tensor]:
        """Exchange a share of the entries, those with the smallest |values|, for the candidates with the largest sums.

        Entries that stay cannot be grown; those to be dropped can, and then keep their values.

        Returns:
            Which of the `values` are new, and which candidates they are: two equally long vectors of positions.
        """
        count = int(share * len(self.values))
        dropped = self.values.abs().topk(count, largest=False).indices  # the smallest first
        staying = torch.ones_like(self.values, dtype=torch.bool).index_fill_(0, dropped, False)
        barred = torch.isin(candidates.indices, self.indices[staying])
        scores = candidates.total.abs().masked_fill(barred, -1.0)
        grown = scores.topk(min(count, int((~barred).sum()))).indices  # the largest first
        new = grown[~torch.isin(candidates.indices[grown], self.indices[dropped])]
        free = dropped[~torch.isin(self.indices[dropped], candidates.indices[grown])][: len(new)]
        self.indices[free] = candidates.indices[new]
        self.values[free] = 0.0
        return free, new

    def merge(self, name: str) -> None:
        changed = read(self.matrix, self.indices, "random").to(self.values.dtype) + self.values
        if not torch.isfinite(changed.to(self.weight.dtype)).all():
            raise ValueError(f"{name}: the merged weight is not finite")
        write(self.matrix, self.indices, "random", changed)


class Candidates:
    """Entries of a weight that may come to be trained, with the sum and sum of squares of their gradients over steps.

    All tensors are (n,). The gradient of a step is the sum over its backward passes.
    """

    def __init__(self, indices: Tensor, total: Tensor | None = None, squares: Tensor | None = None) -> None:
        zeros = torch.zeros(indices.shape, dtype=torch.float32, device=indices.device)
        self.indices = indices
        self.total = zeros if total is None else total
        self.squares = torch.zeros_like(zeros) if squares is None else squares
        self._step = torch.zeros_like(zeros)

    def add(self, gradient: Tensor) -> None:
        """Take in the flat dense gradient of one backward pass."""
        self._step += gradient.index_select(0, self.indices)

    def end_step(self) -> None:
        self.total += self._step
        self.squares.addcmul_(self._step, self._step)
        self._step.zero_()

    def state(self) -> dict[str, Tensor]:
        """Arguments that make the same candidates, between steps."""
        return {"indices": self.indices, "total": self.total, "squares": self.squares}


class _PassDenseGradient(torch.autograd.Function):
    """The identity on y = x Wᵀ; backward passes on dL/dW = gᵀ x too, to a function that may keep some of it."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, receive: Callable[[Tensor], None]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.receive = receive
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        (grad_y,) = grads  # (..., d_out)
        rows, inputs = grad_y.flatten(0, -2), x.flatten(0, -2).to(grad_y.dtype)
        ctx.receive(rows.t() @ inputs)
        return grad_y, None, None


def draw_entries(layers: Iterable[SparseLinear]) -> None:
    """Choose the entries of all layers at random."""
    generator = np.random.default_rng(int(torch.randint(2**31, (), device="cpu")))
    for layer in layers:
        if not layer.indices.is_meta:
            layer.indices.copy_(sample(layer.d_out * layer.d_in, len(layer.indices), generator))


class AgedAdamW(torch.optim.Optimizer):
    """`torch.optim.AdamW`, except that the bias correction of each entry goes by its own number of updates.

    Where all entries of a parameter have the same age, the two are the same.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        (beta1, beta2), state = group["betas"], self._state_of(parameter)
        mean, mean_square, age = state["exp_avg"], state["exp_avg_sq"], state["age"]
        age += 1
        mean.lerp_(grad, 1 - beta1)
        mean_square.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        denominator = (mean_square / _bias(beta2, age)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(mean / _bias(beta1, age), denominator, value=-group["lr"])

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state |= {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq", "age")}
        return state

    @torch.no_grad()
    def seed(self, parameter: Tensor, positions: Tensor, age: int, mean: Tensor, mean_square: Tensor) -> None:
        """Let entries go on as if they had been updated `age` times, with these averages of their gradients.

        positions, mean, mean_square: (n,); of a one-dimensional parameter.
        """
        state, ages = self._state_of(parameter), torch.full_like(mean, age)
        beta1, beta2 = self.defaults["betas"]
        state["age"][positions] = ages
        state["exp_avg"][positions] = mean * _bias(beta1, ages)
        state["exp_avg_sq"][positions] = mean_square * _bias(beta2, ages)


def _bias(beta: float, age: Tensor) -> Tensor:
    """1 - beta^age, also accurate where that is small: the factor that an average from zero falls short by."""
    return -torch.expm1(age * math.log(beta))


@dataclass(eq=False)
class Reselection(Hooks):
    """Every S steps, over the first γ of them, layers collect candidates' gradients, and then exchange entries."""

    layers: dict[str, SparseLinear]
    total_steps: int
    reselection_steps: int
    accumulation_steps: int
    reselection_rate: float
    optimizer: AgedAdamW = field(init=False)

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        return AgedAdamW(groups)

    def before_step(self, step: int) -> None:
        since = self._since(step)
        selected_at = step - since + self.accumulation_steps - 1
        for layer in self.layers.values():
            layer.collecting = step <= selected_at <= self.total_steps

    def after_backward(self, step: int) -> None:
        for layer in self.layers.values():
            layer.collecting = False
            if layer.candidates is not None:
                layer.candidates.end_step()

    def after_step(self, step: int) -> None:
        if self._since(step) != self.accumulation_steps - 1:
            return
        first = step == self.accumulation_steps  # when they are random
        share = 1.0 if first else self.reselection_rate * (1 - step / self.total_steps)
        for layer in self.layers.values():
            if layer.candidates is not None:
                self._reselect(layer, layer.candidates, share)
                layer.candidates = None

    def _since(self, step: int) -> int:
        """Steps since the current round of S began."""
        return (step - 1) % self.reselection_steps

    def _reselect(self, layer: SparseLinear, candidates: Candidates, share: float) -> None:
        steps = self.accumulation_steps
        positions, chosen = layer.reselect(share, candidates)
        mean, mean_square = candidates.total[chosen] / steps, candidates.squares[chosen] / steps
        self.optimizer.seed(layer.values, positions, steps, mean, mean_square)

    def state(self) -> dict[str, Tensor]:
        tensors = {}
        for name, layer in self.layers.items():
            tensors[f"{name}.indices"] = layer.indices
            if layer.candidates is not None:
                tensors |= {f"{name}.candidates.{key}": value for key, value in layer.candidates.state().items()}
        return tensors

    def restore(self, state: dict[str, Tensor]) -> None:
        for name, layer in self.layers.items():
            layer.indices.copy_(state[f"{name}.indices"])
            prefix = f"{name}.candidates."
            saved = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            moved = {key: value.to(layer.indices.device) for key, value in saved.items()}
            layer.candidates = Candidates(**moved) if moved else None
