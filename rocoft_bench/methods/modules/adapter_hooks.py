"""What AdaLoRA, LoRA-FA and RoCoFT, whose adapters are PEFT's, add to the training loop."""

from contextlib import ExitStack
from typing import Any

import torch
from peft.optimizers.lorafa import LoraFAOptimizer
from torch import Tensor, nn

from rocoft_bench.engine.hooks import Hooks, Undecayed
from rocoft_bench.tuner.dynamic import LineScores
from rocoft_bench.tuner.entries import TrainedEntries

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


class NumberedLoRAFA(LoraFAOptimizer):
    """LoRA-FA's with a state that checkpoints can hold.

    peft keeps the state by module names and counts steps as plain numbers; outside, it is numbers and tensors.
    """

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        numbers = {name: number for number, name in enumerate(self._slots())}
        return {**state, "state": {numbers[name]: slot for name, slot in state["state"].items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        slots = self._slots()
        named = {}
        for number, slot in state_dict["state"].items():
            name, device = list(slots.items())[number]
            moments = {key: value.to(device) for key, value in slot.items() if key != "step"}
            named[name] = {**moments, "step": int(slot["step"])}
        super().load_state_dict({**state_dict, "state": named})

    def _slots(self) -> dict[str, torch.device]:
        """The name under which each trained parameter has its state, in order, with the parameter's device."""
        return {
            name.partition("lora")[0] + "lora" if "lora" in name else name: parameter.device
            for group in self.param_groups
            for name, parameter in zip(group["names"], group["params"], strict=True)
        }


class LoRAFAHooks(Hooks):
    def __init__(self, model: Any) -> None:
        self.model = model
        self.parameters: dict[str, nn.Parameter] = dict(model.named_parameters())
        self.names = {parameter: name for name, parameter in self.parameters.items()}

    def make_optimizer(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        pairs: Any = [self._with_frozen(group) for group in groups]
        return NumberedLoRAFA(pairs)

    def _with_frozen(self, group: dict[str, Any]) -> dict[str, Any]:
        """The group with each B's frozen A before it, and the names and scales that the optimizer looks for."""
        names: list[str] = []
        scales: list[float | None] = []
        for name in (self.names[parameter] for parameter in group["params"]):
            layer, found, adapter = name.partition(".lora_B.")
            pair = [f"{layer}.lora_A.{adapter}", name] if found else [name]
            names += pair
            scales += [self.model.get_submodule(layer).scaling["default"] if found else None] * len(pair)
        parameters = [self.parameters[name] for name in names]
        return {**group, "params": parameters, "names": names, "scaling_factors": scales}


class DynamicSelection(Hooks):
    """Rows and columns are chosen anew after every so many steps, by what the last of them shows; not at the end."""

    def __init__(self, scores: LineScores, every: int, total_steps: int, warmup: int) -> None:
        self.scores, self.every, self.total_steps, self.warmup = scores, every, total_steps, warmup
        self._watching = ExitStack()

    def _reselects(self, step: int) -> bool:
        return step % self.every == 0 and step < self.total_steps

    def rate_scale(self, step: int) -> float:
        return 1.0 if step < self.every else min(1.0, (step % self.every + 1) / max(1, self.warmup))

    def before_step(self, step: int) -> None:
        if self._reselects(step):
            self._watching.enter_context(self.scores.watching())

    def after_backward(self, step: int) -> None:
        self._watching.close()

    def after_step(self, step: int) -> None:
        if self._reselects(step):
            self.scores.reselect(self.optimizer)

    def state(self) -> dict[str, Tensor]:
        state = {}
        for i, entries in enumerate(self._entries()):
            state[str(i)] = entries.indices
            if entries.kept_indices is not None and entries.kept_values is not None:
                state |= {f"{i}.kept_indices": entries.kept_indices, f"{i}.kept_values": entries.kept_values}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        for i, entries in enumerate(self._entries()):
            entries.indices.copy_(state[str(i)])
            entries.keep(state.get(f"{i}.kept_indices"), state.get(f"{i}.kept_values"))

    def _entries(self) -> list[TrainedEntries]:
        return [layer.entries("default") for layer in self.scores.layers]
