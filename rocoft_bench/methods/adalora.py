"""AdaLoRA: W + (alpha / r0) P Λ Q with a rank budget that moves to the matrices that need it (Zhang et al. 2023).

P (d_out, r0), the diagonal Λ (r0) and Q (r0, d_in) are peft's lora_B, lora_E and lora_A. From `warmup` to the last
`final` share of the steps the least important triplets, by a smoothed |value * gradient|, are zeroed until `rank` per
matrix is left on average. A penalty keeps P and Q near orthogonal; peft adds it to the model's loss, here it is the
hooks' extra loss, so that the losses that are logged and evaluated are the task's.

Trained parameters outside the head: r0 * (d_in + d_out + 1) per targeted matrix (peft's constant `ranknum` is not
trained). The paper's Table 1 figure, 1.03M on RoBERTa-base, is r0 = 12 on query and value (442,656) plus the 592,130 of
the head. What is saved is only what survives.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import NonNegativeFloat, PositiveFloat, model_validator

from rocoft_bench.config import Count, TrainingConfig
from rocoft_bench.config.schema import Share
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.methods.lora import LLM_TARGETS, LowRankSettings
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import nn

    from rocoft_bench.engine.hooks import Hooks


class AdaLoRASettings(LowRankSettings):
    rank: Count = 8
    """Rank per matrix, on average, that is left at the end."""
    init_rank: Count = 12
    """r0, the rank of every matrix at the start."""
    alpha: PositiveFloat = 24
    """Numerator of the scale alpha / r0."""
    warmup: Share = 0.1
    """Share of the steps before the first triplet is dropped."""
    final: Share = 0.3
    """Share of the steps, at the end, that train the triplets left without dropping more."""
    interval: Count = 10
    """Steps from one allocation of the budget to the next."""
    orthogonality: NonNegativeFloat = 0.5
    """Weight of the penalty on P and Q for not being orthogonal."""

    @model_validator(mode="after")
    def _leaves_something_to_drop(self) -> AdaLoRASettings:
        if self.rank >= self.init_rank:
            raise ValueError(f"rank = {self.rank} must be below init_rank = {self.init_rank}")
        if self.warmup + self.final >= 1:
            raise ValueError(f"warmup = {self.warmup} and final = {self.final} must add up to less than 1")
        return self

    def phases(self, total_steps: int) -> tuple[int, int]:
        """Steps before and after the allocation; it begins after a step that has shown what is important."""
        final = max(0, min(int(self.final * total_steps), total_steps - 2))
        return min(int(self.warmup * total_steps), max(0, total_steps - final - 1)), final


def _budget(init_rank: int, rank: int) -> dict[str, int]:
    return {"init_rank": init_rank, "rank": rank, "alpha": 2 * init_rank}


class AdaLoRA(AdapterMethod[AdaLoRASettings]):
    name = "adalora"
    label = "AdaLoRA"
    trains = "a product P Λ Q added to each targeted matrix, its rank adapted to the matrix's importance"
    mergeable = True
    reference = "Zhang et al. 2023, arXiv 2303.10512"
    Settings = AdaLoRASettings
    peft_class = "AdaLoraConfig"
    # The authors' GLUE scripts: 5e-4 to 2.2e-3, MRPC's is 1e-3; 0.01 in most.
    learning_rate, weight_decay = 1e-3, 0.01
    known_warnings = ("The following rank_pattern keys",)  # it means LoRA's
    keeps_best = False
    shards = False
    presets = {  # noqa: RUF012 - a constant
        "causal_lm": {"target_modules": LLM_TARGETS},
        "deberta-v3-base": _budget(22, 15),
        "bart-large": _budget(11, 7),
        "bloomz-7b": _budget(14, 9),
        "gpt-j-6b": _budget(11, 7),
        "llama-2-7b": _budget(14, 9),
        "llama-2-13b": _budget(16, 11),
    }

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        s = self.settings
        return {
            **{"init_r": s.init_rank, "target_r": s.rank, "lora_alpha": s.alpha, "lora_dropout": s.dropout},
            "deltaT": s.interval,
            "total_step": 1,  # a placeholder: the hooks know
            "orth_reg_weight": 0.0,  # the penalty is the hooks' too
        }

    def finish(self, layer: Any, name: str, seed: int) -> None:
        layer.ranknum.requires_grad_(False)  # peft trains this constant where the base is not on the CPU

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        targets = shapes.targeted(self.settings.target_modules)
        return sum(self.settings.init_rank * (linear.d_in + linear.d_out + 1) for linear in targets)

    def hooks(self, model: Any, training: TrainingConfig, total_steps: int) -> Hooks:
        from rocoft_bench.methods.modules.adapter_hooks import RankAllocation

        config = model.peft_config["default"]
        config.total_step = total_steps
        config.tinit, config.tfinal = self.settings.phases(total_steps)
        return RankAllocation(model, self.settings.orthogonality)

    def stored_parameters(self, model: Any, trained: int) -> int:
        """What belongs to the triplets that are left."""
        from peft.tuners.adalora import AdaLoraLayer

        pattern = model.peft_config["default"].rank_pattern or {}
        left = {name.partition(".lora_E")[0]: sum(kept) for name, kept in pattern.items()}
        return sum(
            left.get(name, self.settings.init_rank) * (layer.in_features + layer.out_features + 1)  # type: ignore[operator]
            for name, layer in model.base_model.model.named_modules()
            if isinstance(layer, AdaLoraLayer)
        )

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        from peft.utils import load_peft_weights

        loaded: Any = super().load(model, folder, task_kind)
        loaded.base_model.trainable_adapter_name = "default"  # peft's forward asks for it wherever there is a loss
        factors = {name: value for name, value in load_peft_weights(str(folder)).items() if ".lora_" in name}
        # again, as peft has put them through the base's precision on the way
        loaded.load_state_dict({f"{name}.default": value for name, value in factors.items()}, strict=False)
        return loaded
