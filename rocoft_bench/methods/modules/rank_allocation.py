"""AdaLoRA's part of the training loop: the orthogonality penalty, and the allocation of ranks after each step."""

from typing import Any

import torch
from torch import Tensor

from rocoft_bench.engine.hooks import Undecayed

IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")
"""Attributes of peft's allocator: by parameter, importance now, smoothed importance, and its uncertainty."""


class RankAllocation(Undecayed):
    """Drives peft's rank allocator, whose schedule stands in the adapter's configuration."""

    def __init__(self, model: Any, orthogonality: float) -> None:
        super().__init__("lora_E")  # decay would drop triplets whatever their importance
        self.tuner = model.base_model
        self.config = model.peft_config["default"]
        self.orthogonality = orthogonality
        self.parameters = {
            name: p for name, p in self.tuner.model.named_parameters() if ".lora_" in name and p.requires_grad
        }

    def extra_loss(self) -> Tensor | None:
        """The mean of ||P^T P - I|| and ||Q Q^T - I|| (Frobenius) over all matrices, weighted."""
        if self.orthogonality == 0:
            return None
        grams = [p @ p.T for name, p in self.parameters.items() if ".lora_A." in name]
        grams += [p.T @ p for name, p in self.parameters.items() if ".lora_B." in name]
        norms = [torch.linalg.matrix_norm(gram - torch.eye(len(gram)).to(gram)) for gram in grams]
        return self.orthogonality * torch.stack(norms).mean()

    def after_step(self, step: int) -> None:
        if self.config.total_step < 2:
            return  # no step before the only one has shown what is important
        for parameter in self.parameters.values():
            if parameter.grad is not None:  # an overflow in fp16, whose step was skipped, would stay in the averages
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
        self.tuner.update_and_allocate(step)

    def state(self) -> dict[str, Tensor]:
        allocator = self.tuner.rankallocator
        state = {f"{kind}/{name}": value for kind in IMPORTANCE for name, value in getattr(allocator, kind).items()}
        for name, kept in (self.config.rank_pattern or {}).items():
            state[f"rank_pattern/{name}"] = torch.tensor(kept)
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if kind == "rank_pattern":
                self.config.rank_pattern = (self.config.rank_pattern or {}) | {name: value.tolist()}
            else:
                getattr(self.tuner.rankallocator, kind)[name] = value.to(self.parameters[name].device)
