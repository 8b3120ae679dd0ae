"""MAM Adapter ("mix and match"): a prefix in every attention and a parallel adapter beside every feed-forward network.

    softmax(q [P_k; K]ᵀ) [P_v; V]        FFN(x) + s (W_up ReLU(W_down x + b_d) + b_u)

He et al. 2022, arXiv 2110.04366. x is the network's input. The adapter's output joins that of the network's last
linear layer, so that the model's dropout on that output, where it has one, acts on both. P_k and P_v are trained as
they are, not through an MLP.

Trained parameters outside the head, with l prefix tokens, bottleneck m, hidden size d and L blocks with one attention
each: 2Lld + L(2dm + m + d). The defaults, l = m = 32, give 1,189,248 on RoBERTa-base, with the head of 592,130 the
paper's 1.78M; on RoBERTa-large they give 3,171,072 + 1,051,650, where the paper has 4.20M: no setting gives both. The
authors' script for GLUE has l = m = 16: 599,232.
"""

from functools import partial
from typing import Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.method import KNOWN_ARCHITECTURES
from rocoft_bench.methods.prefix_widths import NO_PREFIX, prefix_widths
from rocoft_bench.models import ModelShapes


class MAMSettings(StrictModel):
    num_virtual_tokens: Count = 32
    """l, trained keys and values in front of those of each attention."""
    bottleneck: Count = 32
    """m, inner width of the adapters."""
    scale: PositiveFloat = 2.0
    """s, factor of the adapters' output."""


class MAM(InModelMethod[MAMSettings]):
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
        prefixes = sum(2 * s.num_virtual_tokens * width for width in prefix_widths(shapes))
        down = sum((linear.d_in + 1) * s.bottleneck for linear in shapes.targeted(["ffn_in"]))
        up = sum((s.bottleneck + 1) * linear.d_out for linear in shapes.targeted(["ffn_out"]))
        return prefixes + down + up
