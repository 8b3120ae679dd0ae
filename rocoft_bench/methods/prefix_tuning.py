"""Prefix-tuning: l trained keys and values before those of every attention layer, by peft (Li and Liang 2021).

They are trained as they are, without the network that the paper computes them with. In an encoder-decoder they stand
before the decoder's self-attention. peft gives them to the model as a cache: the positions of the real tokens start
after them, wherever the model counts positions. DeBERTa takes no such cache; there they stand in the attention itself
(`attention_prefix`), and the positions stay as they are.

Trained parameters outside the head: 2 l times the width of each layer's keys, 2 L l d as a rule. The paper's Table 1
figure, 0.96M on RoBERTa-base, is l = 20 (368,640) with the 592,130 of the head; 983,040 and 2.03M on RoBERTa-large.
Table 2's are met with l = 136 (BLOOMZ-7B, 33,423,360), 121 (GPT-J, 27,754,496), 128 (LLaMA-2-7B, 33,554,432) and 151
(LLaMA-2-13B, 61,849,600); Table 7's with l = 121 on BART-large (2,973,696) and l = 94 on DeBERTaV3-base (1,732,608).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.prefix_widths import prefix_widths
from rocoft_bench.methods.prompt_tuning import PromptLearning, PromptSettings
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import nn

NO_CACHE = "peft gives the prefix to a model as cached keys and values, which a {} model does not take"


class PrefixInAttention(InModelMethod):
    """Prefix-tuning of a model that takes no cache: each attention has a prefix of its own."""

    name = "prefix-tuning"
    mergeable = False
    settings: PromptSettings

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.attention_prefix import FlatPrefix, put_prefixes

        put_prefixes(model, partial(FlatPrefix, self.settings.num_virtual_tokens))

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return 2 * self.settings.num_virtual_tokens * sum(prefix_widths(shapes))


class PrefixTuning(PromptLearning):
    name = "prefix-tuning"
    label = "Prefix-tuning"
    trains = "keys and values before those of every attention layer"
    provider = "peft; rocoft-bench for DeBERTa"
    reference = "Li and Liang 2021, arXiv 2101.00190"
    peft_class = "PrefixTuningConfig"
    # P-tuning v2's script for RTE on BERT-base, whose prefix is trained without a network too.
    learning_rate, weight_decay = 1e-2, 0.0
    checkpoints_gradients = False
    not_architectures = {"distilbert": NO_CACHE.format("distilbert")}  # noqa: RUF012 - a constant
    presets = {  # noqa: RUF012 - a constant
        "deberta-v3-base": {"num_virtual_tokens": 94},
        "bart-large": {"num_virtual_tokens": 121},
        "bloomz-7b": {"num_virtual_tokens": 136},
        "gpt-j-6b": {"num_virtual_tokens": 121},
        "llama-2-7b": {"num_virtual_tokens": 128},
        "llama-2-13b": {"num_virtual_tokens": 151},
    }

    def _here(self, model_type: str) -> PrefixInAttention | None:
        """What is done in peft's place, for models of which peft cannot do it."""
        return PrefixInAttention(self.settings) if model_type == "deberta-v2" else None

    def apply(self, model: Any, task_kind: str, seed: int) -> nn.Module:
        here = self._here(model.config.model_type)
        return here.apply(model, task_kind, seed) if here else super().apply(model, task_kind, seed)

    def save(self, model: Any, folder: Path) -> None:
        here = self._here(model.config.model_type)
        return here.save(model, folder) if here else super().save(model, folder)

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        here = self._here(model.config.model_type)
        return here.load(model, folder, task_kind) if here else super().load(model, folder, task_kind)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        if here := self._here(shapes.model_type):
            return here.adapter_parameters(shapes)
        keys = shapes.targeted(["key"])
        if shapes.is_encoder_decoder:
            keys = keys[: len(keys) // 3]  # of an encoder's, a decoder's own and its cross-attention, one has a prefix
        widths = [min(key.d_out, shapes.hidden_size) for key in keys]  # a fused projection yields more than keys
        return 2 * self.settings.num_virtual_tokens * sum(widths)
