"""LoHa: an elementwise product of two low-rank ones is added, W + (alpha / r) (B1 A1) * (B2 A2), by peft.

The parametrisation is FedPara's (Hyeon-Woo et al. 2021): its rank reaches r^2. A2 starts at zero, the rest at random.

Trained parameters outside the head: 2 r (d_in + d_out) per targeted matrix. Nearest to Table 7: r = 10 on query and
value of DeBERTaV3-base, 738,818 with the 1,538 of the head (paper 0.765M); r = 4 on BART-large, 1,179,648 (1.285M).
"""

from typing import Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.adapter import LINEAR_ONLY, AdapterMethod
from rocoft_bench.methods.method import Targets
from rocoft_bench.models import ModelShapes


class LoHaSettings(StrictModel):
    rank: Count = 8
    """r, the inner dimension of both products."""
    alpha: PositiveFloat = 8
    """Numerator of the scale alpha / r."""
    target_modules: Targets = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults


class LoHa(AdapterMethod):
    name = "loha"
    label = "LoHa"
    trains = "an elementwise product of two rank-r products added to each targeted matrix"
    mergeable = True
    reference = "Hyeon-Woo et al. 2021, arXiv 2108.06098"
    Settings = LoHaSettings
    settings: LoHaSettings
    peft_class = "LoHaConfig"
    # Chosen here: the paper trains image models from scratch.
    learning_rate, weight_decay = 3e-3, 0.0
    not_architectures = LINEAR_ONLY
    presets = {  # noqa: RUF012 - a constant
        "deberta-v3-base": {"rank": 10, "alpha": 10},
        "bart-large": {"rank": 4, "alpha": 4},
    }

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {"r": self.settings.rank, "alpha": self.settings.alpha}

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        targets = shapes.targeted(self.settings.target_modules)
        return sum(2 * self.settings.rank * (linear.d_in + linear.d_out) for linear in targets)
