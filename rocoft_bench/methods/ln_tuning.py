"""LN tuning: only the normalisation layers are trained, by peft (Zhao et al. 2023).

All of them outside the head: those of the blocks, and what an architecture has at the embeddings or the end; LayerNorm
has a weight and a bias, RMSNorm a weight. They are trained and computed in float32 even where the base is not: near
one, a step of 1e-3 is lost in the 8 bits of bfloat16.

Trained parameters outside the head: the sum of the layers' sizes; 2 d (2 L + 1) on RoBERTa: 38,400 on base, 100,352 on
large.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.methods.adapter import AdapterMethod, bare, head_modules
from rocoft_bench.methods.base import NoSettings

if TYPE_CHECKING:
    from peft import LNTuningConfig
    from torch import nn

    from rocoft_bench.models import ModelShapes


class LNTuning(AdapterMethod):
    name = "ln-tuning"
    label = "LN tuning"
    trains = "all normalisation layers"
    mergeable = True
    reference = "Zhao et al. 2023, arXiv 2312.11420"
    Settings = NoSettings
    learning_rate = 5e-3
    known_warnings = ("Unsupported layer type",)

    def peft_config(self, model: Any, seed: int) -> LNTuningConfig:
        from peft import LNTuningConfig

        return LNTuningConfig(target_modules=norm_pattern(model))

    def apply(self, model: Any, task_kind: str, seed: int) -> nn.Module:
        adapted = super().apply(model, task_kind, seed)
        _to_float32(adapted)
        return adapted

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        from peft import load_peft_weights, set_peft_model_state_dict

        adapted = super().load(model, folder, task_kind)
        if _to_float32(adapted):  # what was read before had been rounded
            set_peft_model_state_dict(adapted, load_peft_weights(str(folder), device="cpu"))
        return adapted

    def _merged(self, model: Any) -> nn.Module:
        """Copies the trained values into the base's own layers; peft would put the trained layers in their places."""
        for base, trained in _layers(model):
            base.load_state_dict(trained.state_dict())
        return bare(model)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return sum(shapes.norm_sizes)


def norm_pattern(model: Any) -> str:
    """A regular expression for the normalisation layers outside the head, with one part for all blocks."""
    from rocoft_bench.models import is_norm

    heads = tuple(f"{head}." for head in head_modules(model))
    names = [name for name, module in model.named_modules() if is_norm(module) and not name.startswith(heads)]
    parts = [r"\.".join(r"\d+" if part.isdigit() else re.escape(part) for part in name.split(".")) for name in names]
    return "|".join(dict.fromkeys(parts))


def _layers(model: nn.Module) -> list[tuple[Any, Any]]:
    """Each normalisation layer of the base, with its trained copy."""
    from peft.tuners.ln_tuning.layer import LNTuningLayer

    adapted = [module for module in model.modules() if isinstance(module, LNTuningLayer)]
    return [(layer.get_base_layer(), layer.ln_tuning_layers[layer.active_adapters[0]]) for layer in adapted]


def _to_float32(model: nn.Module) -> bool:
    """Make the trained layers float32, with casts around them; False where all of them are so already."""
    changed = [trained for base, trained in _layers(model) if base.weight.itemsize < 4]
    for trained in changed:
        dtype = trained.weight.dtype
        trained.float()
        trained.register_forward_pre_hook(lambda module, args: (args[0].float(), *args[1:]))
        trained.register_forward_hook(lambda module, args, output, dtype=dtype: output.to(dtype))
    return bool(changed)
