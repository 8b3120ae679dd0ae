"""peft's LoRA-FA optimizer with our parameter groups, and with a state that checkpoints can hold."""

from typing import Any

import torch
from peft.optimizers.lorafa import LoraFAOptimizer
from torch import nn

from rocoft_bench.engine.hooks import Hooks


class NumberedLoRAFA(LoraFAOptimizer):
    """peft keeps the state by module names and counts steps as plain numbers; outside, it is numbers and tensors."""

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
