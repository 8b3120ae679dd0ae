"""LoKr: a Kronecker product added to each weight, W + s W1 (x) W2, by peft (KronA, Edalati et al. 2022; LyCORIS).

W1 has `factor` rows and columns, W2 the quotients; a side that `factor` does not divide is split where one of its
divisors up to `factor` makes the two parts most alike. W1 starts at zero. With a rank, W2 is itself a product of rank
r where that saves parameters, and s = alpha / r; without one both are trained in full, which is KronA, and s = 1.

Trained parameters outside the head, per matrix with sides split as d_out = a c and d_in = b d: a b for W1, and for W2
c d or r (c + d). Nearest to Table 7: factor 8 in full; on query, key, value and ffn_in of DeBERTaV3-base 778,754 with
the 1,538 of the head (paper 0.815M), on query and value of BART-large 1,184,256 (1.089M).
"""

from math import isqrt
from typing import Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.adapter import LINEAR_ONLY, AdapterMethod
from rocoft_bench.methods.method import Targets
from rocoft_bench.models import LinearShape, ModelShapes

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


class LoKr(AdapterMethod):
    name = "lokr"
    label = "LoKr"
    trains = "a Kronecker product added to each targeted matrix"
    mergeable = True
    reference = "Edalati et al. 2022, arXiv 2212.10650"
    Settings = LoKrSettings
    settings: LoKrSettings
    peft_class = "LoKrConfig"
    # Chosen here.
    learning_rate, weight_decay = 5e-3, 0.0
    not_architectures = LINEAR_ONLY
    presets = {  # noqa: RUF012 - a constant
        "deberta-v3-base": {"target_modules": ["query", "key", "value", "ffn_in"]},
    }

    @property
    def ignored_settings(self) -> frozenset[str]:
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
