"""PROPETL LoRA: low-rank factors that all layers share, each layer through masks of its own.

    W_i + (alpha / r) (B ⊙ M_B,i)(A ⊙ M_A,i)

Layers share a prototype (A, B) where they have the same name within a block and the same shape: one for all queries and
one for all values by default. Trained parameters outside the head: r (d_in + d_out) per prototype, and as many scores
per layer. r = 32 gives 1,277,952 on RoBERTa-base and 3,276,800 on RoBERTa-large; stored are 98,304 and 131,072 values
and one bit per score. The paper's Table 1 figures, 1.77M and 4.19M, are something else: LoRA of rank 32 without any
sharing (1,179,648 and 3,145,728) and the heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat

from rocoft_bench.config import Count
from rocoft_bench.methods.propetl import Propetl, PropetlSettings

if TYPE_CHECKING:
    from rocoft_bench.methods.modules.low_rank import MaskedLoRA
    from rocoft_bench.models import ModelShapes


class PropetlLoRASettings(PropetlSettings):
    rank: Count = 32
    """r, the inner dimension of the shared product."""
    alpha: PositiveFloat = 48
    """Numerator of the scale alpha / r."""
    keep: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the prototype's entries that each layer's mask lets through."""
    score_learning_rate: PositiveFloat = 3e-2
    """Peak learning rate of the scores that decide the masks."""
    target_modules: list[str] | str = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults
    """Adapted matrices: roles (query, key, value, attention_output, ffn_gate, ffn_in, ffn_out) or module names."""


class PropetlLoRA(Propetl):
    name = "propetl-lora"
    label = "PROPETL LoRA"
    trains = "low-rank factors shared by all layers, and masks over them per layer"
    mergeable = True
    Settings = PropetlLoRASettings
    settings: PropetlLoRASettings

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.low_rank import MaskedLoRA
        from rocoft_bench.methods.modules.shared_mask import share
        from rocoft_bench.methods.modules.wrappers import wrap

        s = self.settings
        wrap(model, s.target_modules, lambda layer: MaskedLoRA(layer, s.rank, s.alpha / s.rank, s.keep))
        alike: dict[tuple[str, int, int], list[MaskedLoRA]] = {}
        for name, module in model.named_modules():
            if isinstance(module, MaskedLoRA):
                alike.setdefault(prototype_of(name, module.d_in, module.d_out), []).append(module)
        for layers in alike.values():
            share(layers, "lora_A", "lora_B")

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        layers = shapes.targeted(self.settings.target_modules)
        prototypes = {prototype_of(layer.name, layer.d_in, layer.d_out) for layer in layers}
        scores = sum(layer.d_in + layer.d_out for layer in layers)
        return self.settings.rank * (scores + sum(d_in + d_out for _, d_in, d_out in prototypes))

    def other_counts(self, shapes: ModelShapes) -> dict[str, int]:
        layers = shapes.targeted(self.settings.target_modules)
        return {"LoRA unshared": sum(self.settings.rank * (layer.d_in + layer.d_out) for layer in layers)}


def prototype_of(name: str, d_in: int, d_out: int) -> tuple[str, int, int]:
    """Equal for the layers that share a prototype."""
    return name.rpartition(".")[2], d_in, d_out
