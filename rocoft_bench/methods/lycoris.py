"""LoHa and LoKr, of LyCORIS, by peft: other products than LoRA's that are added to each weight."""

from math import isqrt
from typing import Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.adapter import LINEAR_ONLY, AdapterMethod
from rocoft_bench.methods.lora import Alpha
from rocoft_bench.methods.method import Targets
from rocoft_bench.models import LinearShape, ModelShapes


class LoHaSettings(StrictModel):
    rank: Count = 8
    """r, the inner dimension of both products."""
    alpha: Alpha = 8
    target_modules: Targets = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults


class LoHa(AdapterMethod[LoHaSettings]):
    """An elementwise product of two low-rank ones is added, W + (alpha / r) (B1 A1) * (B2 A2).

    The parametrisation is FedPara's (Hyeon-Woo et al. 2021): its rank reaches r^2. A2 starts at zero, the rest at
    random.

    Trained parameters outside the head: 2 r (d_in + d_out) per targeted matrix. Nearest to Table 7: r = 10 on query and
    value of DeBERTaV3-base, 738,818 with the 1,538 of the head (paper 0.765M); r = 4 on BART-large, 1,179,648 (1.285M).
    """

    name = "loha"
    label = "LoHa"
    trains = "an elementwise product of two rank-r products added to each targeted matrix"
    mergeable = True
    reference = "Hyeon-Woo et al. 2021, arXiv 2108.06098"
    Settings = LoHaSettings
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


BEYOND_ANY_SIDE = 2**20
"""A rank for peft that no side of a matrix reaches: it then trains both factors in full."""


class LoKrSettings(StrictModel):
    factor: Count = 8
    """Rows and columns of the first factor."""
    rank: Count | None = None
    """r of the second factor; none trains it in full."""
    alpha: PositiveFloat = 8
    """Numerator of the scale alpha / r; of no effect without a rank."""
    target_modules: Targets = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults


class LoKr(AdapterMethod[LoKrSettings]):
    """A Kronecker product is added, W + s W1 (x) W2 (KronA, Edalati et al. 2022).

    W1 has `factor` rows and columns, W2 the quotients; a side that `factor` does not divide is split where one of its
    divisors up to `factor` makes the two parts most alike. W1 starts at zero. With a rank, W2 is itself a product of
    rank r where that saves parameters, and s = alpha / r; without one both are trained in full, which is KronA, and
    s = 1.

    Trained parameters outside the head, per matrix with sides split as d_out = a c and d_in = b d: a b for W1, and for
    W2 c d or r (c + d). Nearest to Table 7: factor 8 in full; on query, key, value and ffn_in of DeBERTaV3-base 778,754
    with the 1,538 of the head (paper 0.815M), on query and value of BART-large 1,184,256 (1.089M).
    """

    name = "lokr"
    label = "LoKr"
    trains = "a Kronecker product added to each targeted matrix"
    mergeable = True
    reference = "Edalati et al. 2022, arXiv 2212.10650"
    Settings = LoKrSettings
    peft_class = "LoKrConfig"
    # Chosen here.
    learning_rate, weight_decay = 5e-3, 0.0
    not_architectures = LINEAR_ONLY
    presets = {  # noqa: RUF012 - a constant
        "deberta-v3-base": {"target_modules": ["query", "key", "value", "ffn_in"]},
    }

    @property
    def ignored_settings(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset() if self.settings.rank else frozenset({"alpha"})

    @property
    def _rank(self) -> int:
        return self.settings.rank or BEYOND_ANY_SIDE

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        alpha = self._rank if self.settings.rank is None else self.settings.alpha  # peft scales by alpha / r
        return {"r": self._rank, "alpha": alpha, "decompose_factor": self.settings.factor}

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return sum(self._parameters(linear) for linear in shapes.targeted(self.settings.target_modules))

    def _parameters(self, linear: LinearShape) -> int:
        a, c = split_side(linear.d_out, self.settings.factor)
        b, d = split_side(linear.d_in, self.settings.factor)
        in_full = self._rank >= max(c, d) / 2
        return a * b + (c * d if in_full else self._rank * (c + d))


def split_side(side: int, factor: int) -> tuple[int, int]:
    """A side of the weight as (side of the first factor, side of the second)."""
    if side % factor == 0:
        return factor, side // factor
    small = max(divisor for divisor in range(1, min(factor, isqrt(side)) + 1) if side % divisor == 0)
    return small, side // small
