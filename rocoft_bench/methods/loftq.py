"""LoftQ: LoRA whose start makes up for the 4-bit quantisation of the base (Li et al. 2023).

Q + s B A ≈ W with Q = nf4(W - s B A) and s B A = SVD_r(W - Q) in turn, `iterations` times. Q is the frozen base, and
training starts from A and B. Trained parameters outside the head: LoRA's r * (d_in + d_out) per targeted matrix, here
all linear layers of the blocks; no table of the paper counts LoftQ. r = 16 makes 2,654,208 on RoBERTa-base.

peft 0.21 computes this on a GPU only, and leaves s out of the start, so that its base and change do not add up to W
unless alpha = r. Here it is written out. Q holds values of 4-bit weights in the base's own number format, so memory is
LoRA's, but the model is the quantised one, and it can be merged. Saved are A and B: loading quantises the base anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count
from rocoft_bench.methods.lora import LowRankSettings
from rocoft_bench.methods.method import Targets
from rocoft_bench.methods.qlora import ALL_LINEARS, QuantisedLoRA

if TYPE_CHECKING:
    from torch import nn


class LoftQSettings(LowRankSettings):
    rank: Count = 16
    """r, the inner dimension of the product."""
    alpha: PositiveFloat = 16
    """Numerator of the scale alpha / r."""
    target_modules: Targets = ALL_LINEARS
    iterations: Count = 1
    """How often quantisation and decomposition take turns."""


class LoftQ(QuantisedLoRA):
    name = "loftq"
    label = "LoftQ"
    trains = "a rank-r product added to each targeted 4-bit matrix, starting from the quantisation's error"
    provider = "rocoft-bench"
    mergeable = True
    reference = "Li et al. 2023, arXiv 2310.08659"
    Settings = LoftQSettings
    settings: LoftQSettings
    # The authors' GSM8K script for LLaMA-2-7B.
    learning_rate, weight_decay = 3e-4, 0.1
    presets = {"causal_lm": {"rank": 64, "alpha": 64}}  # noqa: RUF012 - a constant

    def finish(self, layer: Any, name: str, seed: int) -> None:
        from rocoft_bench.methods.modules.quantisation_error import quantise, start_from

        start_from(layer, quantise(layer.get_base_layer(), self.settings.rank, self.settings.iterations))

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        from rocoft_bench.methods.modules.quantisation_error import quantise
        from rocoft_bench.methods.modules.wrappers import targeted_linears

        for linear in targeted_linears(model, self.settings.target_modules).values():
            quantise(linear, self.settings.rank, self.settings.iterations)
        return super().load(model, folder, task_kind)
