"""Bottlenecks in every block: Adapter-S after attention and feed-forward part, MAM Adapter beside the latter."""

from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.method import KNOWN_ARCHITECTURES, NO_PREFIX, MethodMemory
from rocoft_bench.models import ModelShapes


class AdapterSettings(StrictModel):
    bottleneck: Count = 200
    """m, the inner width of each adapter."""


class SequentialAdapter(InModelMethod[AdapterSettings]):
    """A bottleneck after the attention and one after the feed-forward part of each block (Houlsby et al. 2019).

        h + W_up ReLU(W_down LN(h) + b_down) + b_up

    on the output h of the attention's and the feed-forward part's last linear layer, before the residual is added; an
    encoder-decoder's cross-attention has one too. Only the bottleneck after an attention normalises what it reads, as
    in the code of He et al. (2021), whose m = 200 gives the paper's Table 1 figures of 7.41M and 19.77M, head not
    counted.

    Trained parameters outside the head: 2 d m + m + d per bottleneck, plus 2 d after attention; over L blocks
    2 L (2 d m + m + d) + 2 L d. RoBERTa-base 7,414,464, RoBERTa-large 19,768,704.
    """

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


class MAMSettings(StrictModel):
    num_virtual_tokens: Count = 32
    """l, trained keys and values in front of those of each attention."""
    bottleneck: Count = 32
    """m, inner width of the adapters."""
    scale: PositiveFloat = 2.0
    """s, factor of the adapters' output."""


class MAM(InModelMethod[MAMSettings]):
    """Mix and match: a prefix in every attention and a parallel adapter beside every feed-forward network.

        softmax(q [P_k; K]ᵀ) [P_v; V]        FFN(x) + s (W_up ReLU(W_down x + b_d) + b_u)

    (He et al. 2022). x is the network's input. The adapter's output joins that of the network's last linear layer, so
    that the model's dropout on that output, where it has one, acts on both. P_k and P_v are trained as they are, not
    through an MLP.

    Trained parameters outside the head, with l prefix tokens, bottleneck m, hidden size d and L blocks with one
    attention each: 2Lld + L(2dm + m + d). The defaults, l = m = 32, give 1,189,248 on RoBERTa-base, with the head of
    592,130 the paper's 1.78M; on RoBERTa-large they give 3,171,072 + 1,051,650, where the paper has 4.20M: no setting
    gives both. The authors' script for GLUE has l = m = 16: 599,232.
    """

    name = "mam"
    label = "MAM Adapter"
    trains = "keys and values in front of each attention's own and a bottleneck beside each feed-forward network"
    mergeable = False
    reference = "He et al. 2022, arXiv 2110.04366"
    Settings = MAMSettings
    # The authors' GLUE script.
    learning_rate, weight_decay = 1e-4, 0.1
    architectures = KNOWN_ARCHITECTURES
    not_architectures = NO_PREFIX

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.attention_prefix import FlatPrefix, put_prefixes
        from rocoft_bench.methods.modules.bottleneck import add_parallel_adapters

        s = self.settings
        put_prefixes(model, partial(FlatPrefix, s.num_virtual_tokens))
        add_parallel_adapters(model, s.bottleneck, s.scale)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        s = self.settings
        prefixes = sum(2 * s.num_virtual_tokens * width for width in shapes.key_widths)
        down = sum((linear.d_in + 1) * s.bottleneck for linear in shapes.targeted(["ffn_in"]))
        up = sum((s.bottleneck + 1) * linear.d_out for linear in shapes.targeted(["ffn_out"]))
        return prefixes + down + up
