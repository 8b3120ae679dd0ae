"""LoRA: a trained low-rank product added to each weight, W + (alpha / r) B A (Hu et al. 2021), by peft.

Trained parameters outside the head: r * (d_in + d_out) per targeted matrix. The paper's Table 1 figure, 0.89M on
RoBERTa-base, is r = 8 on query and value (294,912) plus the 592,130 of the head.
"""

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, PositiveFloat

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.errors import UserError
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.methods.method import MethodMemory, Targets
from rocoft_bench.models import ModelShapes

LLM_TARGETS = ["query", "key", "value", "ffn_in", "ffn_out"]
"""Where LLM-Adapters, whose set-up Table 2 follows, puts LoRA."""


class LowRankSettings(StrictModel):
    """What LoRA and its relatives share."""

    rank: Count = 8
    """r, the inner dimension of the product."""
    alpha: PositiveFloat = 16
    """Numerator of the scale alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: Targets = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults


class LoRA(AdapterMethod):
    name = "lora"
    label = "LoRA"
    trains = "a rank-r product added to each targeted matrix"
    mergeable = True
    reference = "Hu et al. 2021, arXiv 2106.09685"
    Settings = LowRankSettings
    settings: LowRankSettings
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

    def check_is_lora(self) -> None:
        raise UserError(f"--format lora: what {self.name} saves, the run's adapter/, is a LoRA adapter already")
