"""DeepSpeed's ZeRO: processes share the optimizer's state (stages 1 and 2), and in stage 3 the parameters as well.

Its engine keeps both in flat buffers. Here the optimizer shows its state by parameter in whole tensors, as torch's own
do, so that the training loop and checkpoints are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DeepSpeedPlugin
from deepspeed.runtime.zero import register_external_parameter
from deepspeed.utils import (
    safe_get_full_optimizer_state,
    safe_set_full_optimizer_state,
    safe_set_local_optimizer_state,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn


class ZeroAccelerator(Accelerator):
    """An accelerator that leaves each optimizer step to the loop, where accelerate's own makes it within backward.

    Of the launcher's DeepSpeed settings, those that the run has settings for are not used: batch size, accumulation,
    clipping and precision. bf16 is autocast, as everywhere else.
    """

    def __init__(self, precision: str) -> None:
        super().__init__(mixed_precision="no", deepspeed_plugin=DeepSpeedPlugin(zero3_init_flag=False))
        self._bf16 = precision == "bf16"
        self.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": 0.0,
            "torch_autocast": {"enabled": self._bf16, "dtype": "bfloat16", "lower_precision_safe_modules": []},
        }

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Any:
        groups = [list(group["params"]) for group in optimizer.param_groups]
        self._engine, _ = super().prepare(model, optimizer)
        if self.state.deepspeed_plugin.zero_stage == 3:
            _gather_for_adapters(model)
        return self._engine, ZeroOptimizer(self._engine, groups)

    def autocast(self, autocast_handler: Any = None) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._bf16)

    @contextmanager
    def no_sync(self, model: nn.Module) -> Iterator[None]:
        self._engine.set_gradient_accumulation_boundary(False)
        yield
        self._engine.set_gradient_accumulation_boundary(True)

    def backward(self, loss: Tensor, **options: Any) -> None:
        self._engine.backward(loss)

    def clip_grad_norm_(self, parameters: Any, max_norm: float, norm_type: float = 2) -> None:
        """Within the coming step, to which only the norm over all processes' parts is known."""
        self._engine.optimizer.clip_grad = max_norm


class ZeroOptimizer:
    """What the loop and checkpoints need of an optimizer. All processes must call each method."""

    def __init__(self, engine: Any, groups: list[list[nn.Parameter]]) -> None:
        self._engine, self._zero = engine, engine.optimizer
        self._parameters = [parameter for group in groups for parameter in group]
        self.param_groups = [
            {**group, "params": members} for group, members in zip(self._zero.param_groups, groups, strict=True)
        ]

    @property
    def optimizer(self) -> ZeroOptimizer:
        """Where accelerate's wrappers have the optimizer itself."""
        return self

    def step(self) -> None:
        for own, engines in zip(self.param_groups, self._zero.param_groups, strict=True):
            engines["lr"] = own["lr"]
        self._engine.step()

    def zero_grad(self) -> None:
        """The engine's step has done it."""

    def state_dict(self) -> dict[str, Any]:
        """Whole tensors by the number of the parameter; a scalar, such as the step, is the same for all."""
        slots: dict[str, Tensor] = next(iter(self._zero.optimizer.state.values()), {})
        self._link_state()
        state = {
            index: {
                key: safe_get_full_optimizer_state(parameter, key) if value.dim() else value.clone()
                for key, value in slots.items()
            }
            for index, parameter in enumerate(self._parameters)
        }
        return {"state": state, "param_groups": self.param_groups}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Also takes over the parameters' values, of which the engine has a copy that it steps on."""
        self._zero.refresh_fp32_params()
        if not saved["state"]:
            return
        for flat in self._flat_parts():
            self._zero.optimizer.state[flat] = {
                key: torch.zeros_like(flat) if value.dim() else value.to(flat.device, copy=True)
                for key, value in saved["state"][0].items()
            }
        self._link_state()
        for index, parameter in enumerate(self._parameters):
            for key, value in saved["state"][index].items():
                if value.dim() and hasattr(parameter, "ds_id"):
                    safe_set_local_optimizer_state(parameter, _own_part(parameter, value), key)
                elif value.dim():
                    safe_set_full_optimizer_state(parameter, value, key)

    def _flat_parts(self) -> list[Tensor]:
        """What this process steps on: a part of each group's values, flattened."""
        stage3 = getattr(self._zero, "fp32_partitioned_groups_flat", None)
        return self._zero.single_partition_of_fp32_groups if stage3 is None else stage3

    def _link_state(self) -> None:
        """Let parameters find their state. Stages 1 and 2 do so after the first group's first step: too early for the
        other groups (DeepSpeed 0.19)."""
        if self._zero.optimizer.state and hasattr(self._zero, "_hp_optimizer_states_linked"):
            self._zero._hp_optimizer_states_linked = False
            self._zero._lazy_init_hp_params_optimizer_state()


def _gather_for_adapters(model: nn.Module) -> None:
    """Layers of adapters read parameters of the modules within them, which as such are gathered for these alone."""
    for layer in model.modules():
        if isinstance(layer, BaseTunerLayer):
            for parameter in layer.parameters():
                register_external_parameter(layer, parameter)


def _own_part(parameter: Any, value: Tensor) -> Tensor:
    """What this process holds of a flattened value: all have equally much, the last one with padding."""
    size = parameter.partition_numel()
    padded = nn.functional.pad(value.flatten(), (0, size * dist.get_world_size() - value.numel()))
    return padded.narrow(0, size * dist.get_rank(), size)
