"""LoRA-FA: LoRA, W + (alpha / r) B A, with the random A frozen, so that only B is trained (Zhang et al. 2023), by peft.

Trained parameters outside the head: r * d_out per targeted matrix. The paper's Table 1 figure, 0.44M on RoBERTa-base,
is r = 16 on query, key and value (442,368, without the head). A is saved with the adapter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat

from rocoft_bench.config import Count, TrainingConfig
from rocoft_bench.methods.lora import LLM_TARGETS, LoRA, LowRankSettings
from rocoft_bench.methods.method import MethodMemory, Targets
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import nn

    from rocoft_bench.engine.hooks import Hooks


class LoRAFASettings(LowRankSettings):
    rank: Count = 16
    """r, the inner dimension of the product."""
    alpha: PositiveFloat = 32
    """Numerator of the scale alpha / r."""
    target_modules: Targets = ["query", "key", "value"]  # noqa: RUF012 - pydantic copies defaults
    optimizer: Literal["adamw", "lora_fa"] = "adamw"
    """AdamW, or peft's LoRA-FA optimizer: B's gradient times (A A^T)^-1 / s^2 before the step."""


class LoRAFA(LoRA):
    name = "lora-fa"
    label = "LoRA-FA"
    trains = "the matrix B of a product B A added to each targeted matrix"
    reference = "Zhang et al. 2023, arXiv 2308.03303"
    Settings = LoRAFASettings
    settings: LoRAFASettings
    # Chosen here.
    learning_rate, weight_decay = 1e-3, 0.0
    shards = False
    presets = {"causal_lm": {"target_modules": LLM_TARGETS}}  # noqa: RUF012 - a constant

    def finish(self, layer: Any, name: str, seed: int) -> None:
        """Freezes A; unlike a bare requires_grad_, this outlives `set_adapter`."""
        layer.frozen_peft_weight_names = {"default": ("lora_A",)}
        layer._freeze_non_trainable_peft_weights()

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return sum(self.settings.rank * linear.d_out for linear in shapes.targeted(self.settings.target_modules))

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """No inputs: A, which reads them, is frozen."""
        return replace(super().memory(shapes, itemsize), inputs=[])

    def hooks(self, model: nn.Module, training: TrainingConfig, total_steps: int) -> Hooks:
        if self.settings.optimizer == "adamw":
            return super().hooks(model, training, total_steps)
        from rocoft_bench.methods.modules.lora_fa_optimizer import LoRAFAHooks

        return LoRAFAHooks(model)
