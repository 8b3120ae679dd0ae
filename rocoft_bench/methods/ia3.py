"""(IA)^3: one trained factor per activation, by peft.

k <- l_k * k, v <- l_v * v, and W_out(l_ff * phi(W_in x)) for the feed-forward part; all factors start at one (Liu et
al. 2022). peft's choice for BERT-like encoders also scales the input of the attention's output layer, which gives the
paper's figure: 64,512 on RoBERTa-base, 0.66M with the 592,130 of the head (172,032 and 1.22M on RoBERTa-large).
Language models keep to the method as published. Where one projection yields query, key and value at once (BLOOM,
GPT-2, GPT-NeoX), its whole output is scaled, the query with it.

Trained parameters outside the head: d_out per matrix that is scaled at its output, d_in per matrix at its input.
Table 2's figures are 22 to 37 times what the method has (614,400 on LLaMA-2-7B), and it has nothing to enlarge.
"""

from typing import Any

from rocoft_bench.config import StrictModel
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.models import ModelShapes, peft_pattern

AS_PUBLISHED = {"target_modules": ["key", "value", "ffn_out"]}


class IA3Settings(StrictModel):
    target_modules: list[str] | str = ["key", "value", "attention_output", "ffn_out"]  # noqa: RUF012 - pydantic copies
    """Scaled layers: roles (query, key, value, attention_output, ffn_gate, ffn_in, ffn_out) or module names."""
    feedforward_modules: list[str] | str = ["attention_output", "ffn_out"]  # noqa: RUF012 - pydantic copies defaults
    """Those of them that are scaled at their input."""


class IA3(AdapterMethod[IA3Settings]):
    name = "ia3"
    label = "IA3"
    trains = "one factor per key, value and inner feed-forward activation"
    mergeable = True
    reference = "Liu et al. 2022, arXiv 2205.05638"
    Settings = IA3Settings
    peft_class = "IA3Config"
    # The authors' configuration (T-Few).
    learning_rate, weight_decay = 3e-3, 0.0
    undecayed = ("ia3_l",)  # factors are neutral at 1
    presets = {"causal_lm": AS_PUBLISHED, "seq2seq_lm": AS_PUBLISHED}  # noqa: RUF012 - a constant

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {"feedforward_modules": peft_pattern(self.settings.feedforward_modules, model)}

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        at_input = shapes.targeted(self.settings.feedforward_modules)
        targets = shapes.targeted(self.settings.target_modules)
        return sum(linear.d_in if linear in at_input else linear.d_out for linear in targets)
