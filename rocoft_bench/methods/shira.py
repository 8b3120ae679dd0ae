"""SHiRA: single entries of each weight are trained, W + S with S zero but at random places, by peft.

The method of Bhardwaj et al. 2024 with its random mask. The places are drawn once, with the run's seed and each
layer's name; peft's own mask, given a seed, takes the same places in all layers of one shape. They are saved beside the
values, so a saved adapter needs no seed, and a run that is resumed draws the same ones again.

Trained parameters outside the head: r (d_in + d_out) per targeted matrix, as many as LoRA has at that r, although the
change may have any rank. r = 8 on query and value of RoBERTa-base: 294,912.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.adapter import LINEAR_ONLY, AdapterMethod
from rocoft_bench.methods.method import Targets
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import Tensor


class SHiRASettings(StrictModel):
    rank: Count = 8
    """r: each matrix gets as many trained entries as LoRA of this rank would have."""
    target_modules: Targets = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults


class SHiRA(AdapterMethod[SHiRASettings]):
    name = "shira"
    label = "SHiRA"
    trains = "random single entries of each targeted matrix"
    mergeable = True
    reference = "Bhardwaj et al. 2024, arXiv 2406.13175"
    Settings = SHiRASettings
    peft_class = "ShiraConfig"
    # Bhardwaj et al. train LLMs at 5e-4 (Table 9) and state no decay; of encoders they say nothing: chosen here.
    learning_rate, weight_decay = 5e-3, 0.0
    learning_rates = {"causal_lm": 5e-4}  # noqa: RUF012 - a constant
    not_architectures = LINEAR_ONLY

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {"r": self.settings.rank}

    def peft_config(self, model: Any, seed: int) -> Any:
        config: Any = super().peft_config(model, seed)
        config.mask_type, config.mask_fn = "drawn by rocoft_bench", None  # peft then draws none, now or when loading
        return config

    def finish(self, layer: Any, name: str, seed: int) -> None:
        places = drawn_places(seed, name, layer.out_features, layer.in_features, self.settings.rank)
        layer.shira_indices["default"] = places.to(layer.weight.device)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        targets = shapes.targeted(self.settings.target_modules)
        return sum(self.settings.rank * (linear.d_in + linear.d_out) for linear in targets)


def drawn_places(seed: int, name: str, d_out: int, d_in: int, rank: int) -> Tensor:
    """Rows and columns of the trained entries of the layer of that name, (2, rank * (d_in + d_out)), int32."""
    import torch

    from rocoft_bench.tuner.selection import layer_generator, sample

    flat = sample(d_out * d_in, rank * (d_in + d_out), layer_generator(seed, name))
    return torch.stack([flat // d_in, flat % d_in])
