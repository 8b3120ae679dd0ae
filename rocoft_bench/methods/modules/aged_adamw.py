"""AdamW that knows the age of every single entry, for parameters whose entries come and go."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class AgedAdamW(torch.optim.Optimizer):
    """`torch.optim.AdamW`, except that the bias correction of each entry goes by its own number of updates.

    Where all entries of a parameter have the same age, the two are the same.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, **group)
        return loss

    def _update(
        self,
        parameter: Tensor,
        grad: Tensor,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        **_: Any,
    ) -> None:
        state = self._state_of(parameter)
        mean, mean_square, age = state["exp_avg"], state["exp_avg_sq"], state["age"]
        age += 1
        mean.lerp_(grad, 1 - betas[0])
        mean_square.mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
        parameter.mul_(1 - lr * weight_decay)
        denominator = (mean_square / _bias(betas[1], age)).sqrt_().add_(eps)
        parameter.addcdiv_(mean / _bias(betas[0], age), denominator, value=-lr)

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
