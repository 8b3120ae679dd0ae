"""PROPETL Adapter: one bottleneck that all blocks share, after the feed-forward part, through masks of their own.

    h + (W_up ⊙ M_up) ReLU((W_down ⊙ M_down) h + b_down) + b_up

on the output h of the feed-forward part, before the residual is added. Biases are shared and not masked. Trained
parameters outside the head: 2 d m + m + d for the prototype and 2 d m scores per block. m = 64 on RoBERTa-base gives
1,278,784, m = 85 on RoBERTa-large 4,353,109; with the heads these are the paper's 1.87M and 5.40M. Stored are the
prototype's values (RoBERTa-base: 99,136) and one bit per score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rocoft_bench.config import Count
from rocoft_bench.methods.method import KNOWN_ARCHITECTURES
from rocoft_bench.methods.propetl import Propetl, PropetlSettings

if TYPE_CHECKING:
    from rocoft_bench.models import ModelShapes


class PropetlAdapterSettings(PropetlSettings):
    bottleneck: Count = 64
    """m, the inner width of the shared adapter."""


class PropetlAdapter(Propetl):
    name = "propetl-adapter"
    label = "PROPETL Adapter"
    trains = "one bottleneck shared by all blocks, and a mask over it per block"
    mergeable = False
    Settings = PropetlAdapterSettings
    settings: PropetlAdapterSettings
    architectures = KNOWN_ARCHITECTURES
    presets = {"roberta-large": {"bottleneck": 85}}  # noqa: RUF012 - a constant

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.bottleneck import MaskedBottleneck
        from rocoft_bench.methods.modules.shared_mask import share
        from rocoft_bench.methods.modules.wrappers import wrap

        s = self.settings
        share(wrap(model, ["ffn_out"], lambda layer: MaskedBottleneck(layer, s.bottleneck, s.keep)), "down", "up")

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        m, layers = self.settings.bottleneck, shapes.targeted(["ffn_out"])
        d = layers[0].d_out
        return 2 * d * m + m + d + len(layers) * 2 * d * m
