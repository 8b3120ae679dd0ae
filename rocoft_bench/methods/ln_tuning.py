"""LN tuning: only the normalisation layers are trained, by peft (Zhao et al. 2023).

All of them outside the head: those of the blocks, and what an architecture has at the embeddings or the end; LayerNorm
has a weight and a bias, RMSNorm a weight. They are trained and computed in float32 even where the base is not: near
one, a step of 1e-3 is lost in the 8 bits of bfloat16.

Trained parameters outside the head: the sum of the layers' sizes; 2 d (2 L + 1) on RoBERTa: 38,400 on base, 100,352 on
large.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rocoft_bench.errors import UserError
from rocoft_bench.methods.adapter import AdapterMethod, bare, head_modules
from rocoft_bench.methods.method import NoSettings
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import nn


class LNTuning(AdapterMethod):
    name = "ln-tuning"
    label = "LN tuning"
    trains = "all normalisation layers"
    mergeable = True
    reference = "Zhao et al. 2023, arXiv 2312.11420"
    Settings = NoSettings
    peft_class = "LNTuningConfig"
    # Chosen here: the paper trains multi-modal LLMs; norms are exempt from decay.
    learning_rate, weight_decay = 5e-3, 0.0
    skips_parameters = True
    known_warnings = ("Unsupported layer type",)

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {"target_modules": norm_pattern(model)}

    def copied_parameters(self, model: Any, task_kind: str) -> Iterator[nn.Parameter]:
        from rocoft_bench.models.parameter_counts import is_norm

        yield from super().copied_parameters(model, task_kind)
        for module in model.modules():
            if is_norm(module):
                yield from module.parameters()

    def _merged(self, model: Any) -> nn.Module:
        """Copies the trained values into the base's own layers; peft would put the trained layers in their places."""
        from peft.tuners.ln_tuning.layer import LNTuningLayer

        from rocoft_bench.models.precision import hold_in_float32

        for layer in [module for module in model.modules() if isinstance(module, LNTuningLayer)]:
            base: Any = layer.get_base_layer()
            hold_in_float32(model, base.parameters())
            base.load_state_dict(layer.ln_tuning_layers[layer.active_adapters[0]].state_dict())
        return bare(model)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return sum(shapes.norm_sizes)


def norm_pattern(model: Any) -> str:
    """A regular expression for the normalisation layers outside the head, with one part for all blocks.

    Raises: UserError if there are none.
    """
    from rocoft_bench.models.parameter_counts import is_norm

    heads = tuple(f"{head}." for head in head_modules(model))
    names = [name for name, module in model.named_modules() if is_norm(module) and not name.startswith(heads)]
    if not names:
        raise UserError(f"method ln-tuning: a {model.config.model_type} model has no normalisation layers to train")
    parts = [r"\.".join(r"\d+" if part.isdigit() else re.escape(part) for part in name.split(".")) for name in names]
    return "|".join(dict.fromkeys(parts))
