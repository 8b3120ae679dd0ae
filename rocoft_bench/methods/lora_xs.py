"""LoRA-XS: a trained r by r matrix between frozen factors that come from the weight's SVD (Bałazy et al. 2024).

    W + (alpha / r) U_r R Σ_r V_rᵀ,  W = U Σ Vᵀ

Trained parameters outside the head: r² per targeted matrix, with r at most the matrix's smaller side. The paper's
0.26M on RoBERTa-base is met by r = 60 on the six linear layers of a block (259,200). The frozen factors are computed
once and saved along with R, so that a saved adapter does not depend on an SVD coming out the same again.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count, TrainingConfig
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.lora import LowRankSettings
from rocoft_bench.methods.method import MethodMemory, Targets
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import nn

    from rocoft_bench.engine.hooks import Hooks

SIX_LINEARS = ["query", "key", "value", "attention_output", "ffn_in", "ffn_out"]


class LoraXSSettings(LowRankSettings):
    rank: Count = 25
    """r, how many singular directions of each weight; at most its smaller side."""
    target_modules: Targets = ["query", "value", "attention_output", "ffn_out"]  # noqa: RUF012
    head_learning_rate: PositiveFloat | None = None
    """Peak learning rate of the task head; by default that of the rest."""


class LoraXS(InModelMethod):
    name = "lora-xs"
    label = "LoRA-XS"
    trains = "an r by r matrix between the frozen singular vectors of each targeted matrix"
    mergeable = True
    reference = "Bałazy et al. 2024, arXiv 2405.17604"
    Settings = LoraXSSettings
    settings: LoraXSSettings
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
