"""Adapter-S: a bottleneck after the attention and one after the feed-forward part of each block (Houlsby et al. 2019).

    h + W_up ReLU(W_down LN(h) + b_down) + b_up

on the output h of the attention's and the feed-forward part's last linear layer, before the residual is added; an
encoder-decoder's cross-attention has one too. Only the bottleneck after an attention normalises what it reads, as in
the code of He et al. (2021), whose m = 200 gives the paper's Table 1 figures of 7.41M and 19.77M, head not counted.

Trained parameters outside the head: 2 d m + m + d per bottleneck, plus 2 d after attention; over L blocks
2 L (2 d m + m + d) + 2 L d. RoBERTa-base 7,414,464, RoBERTa-large 19,768,704.
"""

from dataclasses import replace
from typing import Any

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.method import KNOWN_ARCHITECTURES, MethodMemory
from rocoft_bench.models import ModelShapes


class AdapterSettings(StrictModel):
    bottleneck: Count = 200
    """m, the inner width of each adapter."""


class SequentialAdapter(InModelMethod[AdapterSettings]):
    name = "adapter"
    label = "Adapter-S"
    trains = "two bottlenecks per block, after attention and feed-forward part"
    mergeable = False
    reference = "Houlsby et al. 2019, arXiv 1902.00751"
    Settings = AdapterSettings
    architectures = KNOWN_ARCHITECTURES
    # The GLUE script of He et al., whose code this bottleneck is from.
    learning_rate, weight_decay = 1e-4, 0.1

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.bottleneck import Bottleneck, NormedBottleneck
        from rocoft_bench.methods.modules.wrappers import wrap

        m = self.settings.bottleneck
        wrap(model, ["attention_output"], lambda layer: NormedBottleneck(layer, m))
        wrap(model, ["ffn_out"], lambda layer: Bottleneck(layer, m))

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        m = self.settings.bottleneck
        after_attention = [linear.d_out for linear in shapes.targeted(["attention_output"])]
        widths = after_attention + [linear.d_out for linear in shapes.targeted(["ffn_out"])]
        return sum(2 * d * m + m + d for d in widths) + sum(2 * d for d in after_attention)

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """What each bottleneck reads is kept, before and after the norm where it has one, and its inner values."""
        m = self.settings.bottleneck
        normed = [(linear, 2 * linear.d_out + m) for linear in shapes.targeted(["attention_output"])]
        plain = [(linear, linear.d_out + m) for linear in shapes.targeted(["ffn_out"])]
        return replace(super().memory(shapes, itemsize), extra_saved_per_token=normed + plain)
