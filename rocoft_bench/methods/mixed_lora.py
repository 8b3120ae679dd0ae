"""LoRA with an r by r matrix between its factors: MoSLoRA trains all three, LoRA-XS that matrix alone."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count, TrainingConfig
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.lora import LLM_TARGETS, LowRankSettings
from rocoft_bench.methods.method import MethodMemory, Targets
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import nn

    from rocoft_bench.engine.hooks import Hooks

ATTENTION = ["query", "key", "value", "attention_output"]
SIX_LINEARS = [*ATTENTION, "ffn_in", "ffn_out"]


class MoSLoRA(InModelMethod[LowRankSettings]):
    """A trained mixer between the factors, W + (alpha / r) B M A (Wu et al. 2024).

    M mixes the r subspaces of A and B, where LoRA pairs each one with its counterpart (M = I). A and M start as LoRA's
    A does, B at zero. Trained parameters outside the head: r (d_in + d_out) + r² per targeted matrix. No one setting
    gives both of the paper's figures: 1.67M on RoBERTa-base is r = 10 on the six linear layers of a block (1,666,080),
    head not counted, 3.23M on RoBERTa-large is r = 11 on the four of its attention (2,174,304) with the head of
    1,051,650.
    """

    name = "moslora"
    label = "MoSLoRA"
    trains = "a rank-r product with an r by r mixer inside, added to each targeted matrix"
    mergeable = True
    reference = "Wu et al. 2024, arXiv 2406.11909"
    Settings = LowRankSettings
    # The authors' script for LLaMA, which states no decay.
    learning_rate, weight_decay = 3e-4, 0.0
    presets = {  # noqa: RUF012 - a constant
        "causal_lm": {"rank": 16, "alpha": 32, "target_modules": LLM_TARGETS},
        "roberta-base": {"rank": 10, "alpha": 20, "target_modules": SIX_LINEARS},
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


class LoraXSSettings(LowRankSettings):
    rank: Count = 25
    """r, how many singular directions of each weight; at most its smaller side."""
    target_modules: Targets = ["query", "value", "attention_output", "ffn_out"]  # noqa: RUF012
    head_learning_rate: PositiveFloat | None = None
    """Peak learning rate of the task head; by default that of the rest."""


class LoraXS(InModelMethod[LoraXSSettings]):
    """A trained matrix between frozen factors that come from the weight's SVD (Bałazy et al. 2024).

        W + (alpha / r) U_r R Σ_r V_rᵀ,  W = U Σ Vᵀ

    Trained parameters outside the head: r² per targeted matrix, with r at most the matrix's smaller side. The paper's
    0.26M on RoBERTa-base is met by r = 60 on the six linear layers of a block (259,200). The frozen factors are
    computed once and saved along with R, so that a saved adapter does not depend on an SVD coming out the same again.
    """

    name = "lora-xs"
    label = "LoRA-XS"
    trains = "an r by r matrix between the frozen singular vectors of each targeted matrix"
    mergeable = True
    reference = "Bałazy et al. 2024, arXiv 2405.17604"
    Settings = LoraXSSettings
    # The largest rate of the authors' GLUE grid, 1e-4 to 1e-3, which states no decay.
    learning_rate, weight_decay = 1e-3, 0.0
    presets = {"roberta-base": {"rank": 60, "target_modules": SIX_LINEARS}}  # noqa: RUF012 - a constant

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.low_rank import SingularLoRA
        from rocoft_bench.methods.modules.wrappers import modules_of

        self.attach_to_load(model)
        layers = modules_of(model, SingularLoRA).values()
        clipped = [len(layer.core) for layer in layers if len(layer.core) < self.settings.rank]
        if clipped:
            wanted = f"method.rank = {self.settings.rank}"
            warnings.warn(f"{wanted}: {len(clipped)} of {len(layers)} matrices take no more than {min(clipped)}")
        for layer in layers:
            if not layer.weight.is_meta:
                layer.decompose()

    def attach_to_load(self, model: Any) -> None:
        """Without the SVDs."""
        from rocoft_bench.methods.modules.low_rank import SingularLoRA
        from rocoft_bench.methods.modules.wrappers import wrap

        s = self.settings
        wrap(model, s.target_modules, lambda layer: SingularLoRA(layer, s.rank, s.alpha, s.dropout))

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        layers = shapes.targeted(self.settings.target_modules)
        return sum(min(self.settings.rank, layer.d_in, layer.d_out) ** 2 for layer in layers)

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """No inputs: the vectors that read them are frozen."""
        return replace(super().memory(shapes, itemsize), inputs=[])

    def hooks(self, model: nn.Module, training: TrainingConfig, total_steps: int) -> Hooks:
        from rocoft_bench.methods.modules.low_rank import SingularHooks
        from rocoft_bench.models.parameter_counts import head_parameter_names

        return SingularHooks(model, head_parameter_names(model), self.settings.head_learning_rate)
