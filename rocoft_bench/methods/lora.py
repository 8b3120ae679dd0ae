"""LoRA: a trained low-rank product added to each weight, W + (alpha / r) B A (Hu et al. 2021), by peft.

Trained parameters outside the head: r * (d_in + d_out) per targeted matrix. The paper's Table 1 figure, 0.89M on
RoBERTa-base, is r = 8 on query and value (294,912) plus the 592,130 of the head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from rocoft_bench.config import Section
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.methods.base import targeted

if TYPE_CHECKING:
    from peft import LoraConfig

    from rocoft_bench.models import LinearShape


class LoRASettings(Section):
    rank: PositiveInt = 8
    """r, the inner dimension of the product."""
    alpha: PositiveInt = 16
    """Numerator of the scale alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: list[str] = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults
    """Names of the adapted matrices, by suffix."""


class LoRA(AdapterMethod):
    name = "lora"
    trains = "a rank-r product added to each targeted matrix"
    provider = "peft"
    mergeable = True
    reference = "Hu et al. 2021, arXiv 2106.09685"
    Settings = LoRASettings
    settings: LoRASettings
    label = "LoRA"

    def peft_config(self, task_type: str, seed: int) -> LoraConfig:
        from peft import LoraConfig

        s = self.settings
        return LoraConfig(
            r=s.rank,
            lora_alpha=s.alpha,
            lora_dropout=s.dropout,
            target_modules=list(s.target_modules),
            task_type=task_type,
        )

    def adapter_parameters(self, linears: list[LinearShape]) -> int:
        targets = targeted(linears, self.settings.target_modules)
        return sum(self.settings.rank * (linear.d_in + linear.d_out) for linear in targets)
