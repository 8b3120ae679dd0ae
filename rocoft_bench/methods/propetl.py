"""PROPETL: one prototype of a small module, shared by all layers, each using the part that its own trained binary mask
lets through (Zeng, Zhang and Lu 2023, "One Network, Many Masks").

What a PROPETL method saves is the prototype as it is and the masks as bits, not the scores that the masks came from:
a loaded model answers as the trained one did, and is not meant to be trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat

from rocoft_bench.config import StrictModel, TrainingConfig
from rocoft_bench.methods.in_model import InModelMethod

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rocoft_bench.engine.hooks import Hooks


class PropetlSettings(StrictModel):
    keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the prototype's entries that each layer's mask lets through."""
    score_learning_rate: PositiveFloat = 3e-3
    """Peak learning rate of the scores that decide the masks."""


class Propetl(InModelMethod):
    """Base of the PROPETL methods: `attach` puts in modules that look at a shared prototype through `Mask`s."""

    reference = "Zeng et al. 2023, arXiv 2305.17682"
    Settings = PropetlSettings
    settings: PropetlSettings
    # The authors' RoBERTa scripts; the scores have their own rate.
    learning_rate, weight_decay = 1e-4, 0.1

    def hooks(self, model: nn.Module, training: TrainingConfig, total_steps: int) -> Hooks:
        from rocoft_bench.methods.modules.shared_mask import ScoreRate

        return ScoreRate(self.settings.score_learning_rate)

    def stored_parameters(self, model: nn.Module, trained: int) -> int:
        """The prototype's values: the masks are stored as bits."""
        from rocoft_bench.methods.modules.shared_mask import masks

        return trained - sum(mask.scores.numel() for mask in masks(model).values() if mask.scores is not None)

    def own_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        from rocoft_bench.methods.modules.shared_mask import masks, pack

        tensors = super().own_tensors(model)
        for name, mask in masks(model).items():
            if tensors.pop(f"{name}.scores", None) is not None:
                tensors[f"{name}.bits"] = pack(mask.binary())
        return tensors

    def attach_to_load(self, model: Any) -> None:
        from rocoft_bench.methods.modules.shared_mask import masks

        self.attach(model)
        for mask in masks(model).values():
            mask.fix()
