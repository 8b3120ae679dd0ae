"""LoRA, and what is LoRA but for what of it is trained: DoRA and LoRA-FA; all by peft."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveFloat

from rocoft_bench.config import Count, StrictModel, TrainingConfig
from rocoft_bench.config.schema import Share
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.methods.method import MethodMemory, Targets
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import nn

    from rocoft_bench.engine.hooks import Hooks

LLM_TARGETS = ["query", "key", "value", "ffn_in", "ffn_out"]
"""Where LLM-Adapters, whose set-up Table 2 follows, puts LoRA."""


Rank = Annotated[Count, Field(description="r, the inner dimension of the product.")]
Alpha = Annotated[PositiveFloat, Field(description="Numerator of the scale alpha / r.")]
Dropout = Annotated[Share, Field(description="Dropout on the adapter's input.")]


class LowRankSettings(StrictModel):
    """What LoRA and its relatives share."""

    rank: Rank = 8
    alpha: Alpha = 16
    dropout: Dropout = 0.0
    target_modules: Targets = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults


class LoRA(AdapterMethod[LowRankSettings]):
    """A trained low-rank product added to each weight, W + (alpha / r) B A (Hu et al. 2021).

    Trained parameters outside the head: r * (d_in + d_out) per targeted matrix. The paper's Table 1 figure, 0.89M on
    RoBERTa-base, is r = 8 on query and value (294,912) plus the 592,130 of the head.
    """

    name = "lora"
    label = "LoRA"
    trains = "a rank-r product added to each targeted matrix"
    mergeable = True
    reference = "Hu et al. 2021, arXiv 2106.09685"
    Settings = LowRankSettings
    peft_class = "LoraConfig"
    # The authors' GLUE scripts for RoBERTa-base.
    learning_rate, weight_decay = 5e-4, 0.1
    presets = {  # noqa: RUF012 - a constant
        "causal_lm": {"target_modules": LLM_TARGETS},
        "deberta-v3-base": {"rank": 20, "alpha": 40},
        "bloomz-7b": {"rank": 14, "alpha": 28},
        "gpt-j-6b": {"rank": 11, "alpha": 22},
        "llama-2-7b": {"rank": 14, "alpha": 28},
        "llama-2-13b": {"rank": 16, "alpha": 32},
    }

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {"r": self.settings.rank, "lora_alpha": self.settings.alpha, "lora_dropout": self.settings.dropout}

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        targets = shapes.targeted(self.settings.target_modules)
        return sum(self.settings.rank * (linear.d_in + linear.d_out) for linear in targets)

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """A's output is kept, and with dropout not the layer's input but what A reads, an own one each, and a mask."""
        memory, dropped = super().memory(shapes, itemsize), self.settings.dropout > 0
        beside = [(linear, self.settings.rank + 2 * linear.d_in * dropped) for linear in memory.inputs]
        return replace(memory, inputs=[] if dropped else memory.inputs, extra_saved_per_token=beside)


class DoRA(LoRA):
    """The low-rank change acts on the direction of each weight, and its magnitude is trained apart.

    W' = m (W + s B A) / ||W + s B A||, the norm taken of each output's row, m (d_out) starting as the norms of W
    (Liu et al. 2024). Trained parameters outside the head: r * (d_in + d_out) + d_out per targeted matrix; no table of
    the paper counts DoRA. The defaults are LoRA's: on RoBERTa-base, r = 8 on query and value makes 313,344.
    """

    name = "dora"
    label = "DoRA"
    trains = "a rank-r product added to each targeted matrix, and the magnitude of each row"
    reference = "Liu et al. 2024, arXiv 2402.09353"
    # The authors' script for LLaMA-2, which states no decay.
    learning_rate, weight_decay = 2e-4, 0.0

    undecayed = ("lora_magnitude_vector",)  # the magnitudes start as the norms of W

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {**super().peft_options(model, seed), "use_dora": True}

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        targets = shapes.targeted(self.settings.target_modules)
        return super().adapter_parameters(shapes) + sum(linear.d_out for linear in targets)

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """What LoRA keeps, what the magnitudes are multiplied with, and the changed weights, whose norms are taken."""
        memory, targets = super().memory(shapes, itemsize), shapes.targeted(self.settings.target_modules)
        return replace(
            memory,
            extra_saved_per_token=[*memory.extra_saved_per_token, *((linear, 2 * linear.d_out) for linear in targets)],
            saved_per_pass=sum(linear.d_in * linear.d_out for linear in targets),
        )


class LoRAFASettings(LowRankSettings):
    rank: Rank = 16
    alpha: Alpha = 32
    target_modules: Targets = ["query", "key", "value"]  # noqa: RUF012 - pydantic copies defaults
    optimizer: Literal["adamw", "lora_fa"] = "adamw"
    """AdamW, or peft's LoRA-FA optimizer: B's gradient times (A A^T)^-1 / s^2 before the step."""


class LoRAFA(LoRA):
    """LoRA with the random A frozen, so that only B is trained (Zhang et al. 2023).

    Trained parameters outside the head: r * d_out per targeted matrix. The paper's Table 1 figure, 0.44M on
    RoBERTa-base, is r = 16 on query, key and value (442,368, without the head). A is saved with the adapter.
    """

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
        from rocoft_bench.methods.modules.adapter_hooks import LoRAFAHooks

        return LoRAFAHooks(model)
