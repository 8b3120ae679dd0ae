"""PROPETL Prefix: one prefix for all attentions, of which each sees the entries that its own mask lets through.

    P = tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂,   [P_k; P_v] of attention i = P ⊙ M_i   (P and M_i: l × 2d)

Zeng, Zhang and Lu 2023, arXiv 2305.17682; M_i as in `prototype`. E (l × d), the MLP and the scores behind the masks are
trained. What is saved is P and the masks as bits.

Trained parameters outside the head, with l tokens, an MLP of width m', hidden size d and L attentions:
ld + (dm' + m') + (2dm' + 2d) + 2Lld; 2,410,496 on RoBERTa-base, 4,786,688 on RoBERTa-large. The paper's 10.49M and
26.85M are another method's: they are a prefix for each layer, unshared, from an MLP m' → 2Ld (9,898,496 and 25,805,312,
with the heads).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat

from rocoft_bench.config import Count
from rocoft_bench.methods.method import KNOWN_ARCHITECTURES
from rocoft_bench.methods.prefix_widths import NO_PREFIX, prefix_widths
from rocoft_bench.methods.propetl import Propetl, PropetlSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rocoft_bench.models import ModelShapes


class PropetlPrefixSettings(PropetlSettings):
    num_virtual_tokens: Count = 64
    """l, keys and values in front of those of each attention."""
    hidden_size: Count = 512
    """m', inner width of the MLP that makes them."""
    keep: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the prefix's entries that each attention's mask lets through."""
    score_learning_rate: PositiveFloat = 1e-4
    """Peak learning rate of the scores that decide the masks."""


class PropetlPrefix(Propetl):
    name = "propetl-prefix"
    label = "PROPETL Prefix"
    trains = "one set of keys and values in front of every attention's own, and a mask over it for each attention"
    mergeable = False
    Settings = PropetlPrefixSettings
    settings: PropetlPrefixSettings
    architectures = KNOWN_ARCHITECTURES
    not_architectures = NO_PREFIX

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.attention_prefix import put_prefixes
        from rocoft_bench.methods.modules.masked_prefix import MaskedPrefix
        from rocoft_bench.methods.modules.shared_mask import share

        s = self.settings
        prefixes = put_prefixes(
            model,
            lambda width, device: MaskedPrefix(
                s.num_virtual_tokens, model.config.hidden_size, s.hidden_size, width, s.keep, device
            ),
        )
        share(prefixes, "prototype")

    def attach_to_load(self, model: Any) -> None:
        super().attach_to_load(model)
        _prototype(model)[1].fix()

    def own_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        tensors = super().own_tensors(model)
        name, prototype = _prototype(model)
        for parameter, _ in prototype.named_parameters():
            del tensors[f"{name}.{parameter}"]
        return tensors | {f"{name}.table": prototype()}

    def stored_parameters(self, model: nn.Module, trained: int) -> int:
        """P's values: what made it is forgotten, and the masks are stored as bits."""
        return _prototype(model)[1]().numel()

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        widths = prefix_widths(shapes)
        scores = sum(2 * self.settings.num_virtual_tokens * width for width in widths)
        return self._made_by_mlp(shapes.hidden_size, 2 * widths[0]) + scores

    def other_counts(self, shapes: ModelShapes) -> dict[str, int]:
        return {"the prefix unshared": self._made_by_mlp(shapes.hidden_size, 2 * sum(prefix_widths(shapes)))}

    def _made_by_mlp(self, d_model: int, width: int) -> int:
        """Parameters behind a prefix (l, width)."""
        hidden = self.settings.hidden_size
        return self.settings.num_virtual_tokens * d_model + (d_model + 1) * hidden + (hidden + 1) * width


def _prototype(model: nn.Module) -> tuple[str, Any]:
    """The one prototype of a model, by its first name."""
    from rocoft_bench.methods.modules.masked_prefix import Prototype

    return next((name, module) for name, module in model.named_modules() if isinstance(module, Prototype))
