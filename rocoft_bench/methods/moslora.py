"""MoSLoRA: LoRA with a trained mixer between its factors, W + (alpha / r) B M A (Wu et al. 2024).

M mixes the r subspaces of A and B, where LoRA pairs each one with its counterpart (M = I). A and M start as LoRA's A
does, B at zero. Trained parameters outside the head: r (d_in + d_out) + r² per targeted matrix. No one setting gives
both of the paper's figures: 1.67M on RoBERTa-base is r = 10 on the six linear layers of a block (1,666,080), head not
counted, 3.23M on RoBERTa-large is r = 11 on the four of its attention (2,174,304) with the head of 1,051,650.
"""

from typing import Any

from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.lora import LLM_TARGETS, LowRankSettings
from rocoft_bench.models import ModelShapes

ATTENTION = ["query", "key", "value", "attention_output"]


class MoSLoRA(InModelMethod):
    name = "moslora"
    label = "MoSLoRA"
    trains = "a rank-r product with an r by r mixer inside, added to each targeted matrix"
    mergeable = True
    reference = "Wu et al. 2024, arXiv 2406.11909"
    Settings = LowRankSettings
    settings: LowRankSettings
    # The authors' script for LLaMA, which states no decay.
    learning_rate, weight_decay = 3e-4, 0.0
    presets = {  # noqa: RUF012 - a constant
        "causal_lm": {"rank": 16, "alpha": 32, "target_modules": LLM_TARGETS},
        "roberta-base": {"rank": 10, "alpha": 20, "target_modules": [*ATTENTION, "ffn_in", "ffn_out"]},
        "roberta-large": {"rank": 11, "alpha": 22, "target_modules": ATTENTION},
    }

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.low_rank import MixedLoRA
        from rocoft_bench.methods.modules.wrappers import wrap

        s = self.settings
        wrap(model, s.target_modules, lambda layer: MixedLoRA(layer, s.rank, s.alpha / s.rank, s.dropout))

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        r = self.settings.rank
        return sum(r * (linear.d_in + linear.d_out) + r * r for linear in shapes.targeted(self.settings.target_modules))
