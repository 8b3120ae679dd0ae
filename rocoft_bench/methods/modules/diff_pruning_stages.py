"""Diff pruning's part in the training loop: gates are learned, then the changes are pruned, then trained on."""

import torch
from torch import Tensor

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.methods.modules.hard_concrete import GatedChange


class Stages(Hooks):
    """The first stage learns changes and gates, the second the changes that are left; each has its own schedule.

    The numbers are the method's settings of these names.
    """

    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        changes: dict[str, GatedChange],
        total_steps: int,
        *,
        mask_share: float,
        sparsity: float,
        l0_penalty: float,
        gate_learning_rate: float,
        fixed_mask_rate: float,
    ) -> None:
        self.changes, self.sparsity, self.l0_penalty = changes, sparsity, l0_penalty
        self.gate_learning_rate, self.fixed_mask_rate = gate_learning_rate, fixed_mask_rate
        self.gated_steps = min(max(1, round(mask_share * total_steps)), total_steps - 1)

    @property
    def fixed(self) -> bool:
        return any(change.mask is not None for change in self.changes.values())

    def group_options(self, name: str) -> dict[str, float]:
        if name.endswith("log_alpha"):
            return {"learning_rate": self.gate_learning_rate, "weight_decay": 0.0}
        return {}

    def started(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

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
