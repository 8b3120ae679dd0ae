"""PROPETL: one prototype of a small module, shared by all layers, each using the part that its own trained binary mask
lets through (Zeng, Zhang and Lu 2023, "One Network, Many Masks").

What a PROPETL method saves is the prototype as it is and the masks as bits, not the scores that the masks came from:
a loaded model answers as the trained one did, and is not meant to be trained on.

PROPETL Adapter: one bottleneck that all blocks share, after the feed-forward part, through masks of their own.

    h + (W_up ⊙ M_up) ReLU((W_down ⊙ M_down) h + b_down) + b_up

on the output h of the feed-forward part, before the residual is added. Biases are shared and not masked. Trained
parameters outside the head: 2 d m + m + d for the prototype and 2 d m scores per block. m = 64 on RoBERTa-base gives
1,278,784, m = 85 on RoBERTa-large 4,353,109; with the heads these are the paper's 1.87M and 5.40M. Stored are the
prototype's values (RoBERTa-base: 99,136) and one bit per score.

PROPETL Prefix: one prefix for all attentions, of which each sees the entries that its own mask lets through.

    P = tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂,   [P_k; P_v] of attention i = P ⊙ M_i   (P and M_i: l × 2d)

M_i as in `modules.shared_mask`. E (l × d), the MLP and the scores behind the masks are trained. What is saved is P and
the masks as bits.

Trained parameters outside the head, with l tokens, an MLP of width m', hidden size d and L attentions:
ld + (dm' + m') + (2dm' + 2d) + 2Lld; 2,410,496 on RoBERTa-base, 4,786,688 on RoBERTa-large. The paper's 10.49M and
26.85M are another method's: they are a prefix for each layer, unshared, from an MLP m' → 2Ld (9,898,496 and 25,805,312,
with the heads).

PROPETL LoRA: low-rank factors that all layers share, each layer through masks of its own.

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

from rocoft_bench.config import Count, StrictModel, TrainingConfig
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.lora import Alpha
from rocoft_bench.methods.method import KNOWN_ARCHITECTURES, NO_PREFIX, Targets
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rocoft_bench.engine.hooks import Hooks
    from rocoft_bench.methods.modules.low_rank import MaskedLoRA
    from rocoft_bench.methods.modules.shared_mask import Fixable


class PropetlSettings(StrictModel):
    keep: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the prototype's entries that each layer's mask lets through."""
    score_learning_rate: PositiveFloat = 3e-3
    """Peak learning rate of the scores that decide the masks."""


class Propetl(InModelMethod[PropetlSettings]):
    """Base of the PROPETL methods: `attach` puts in modules that look at a shared prototype through `Mask`s.

    What is saved and stored of `Fixable` parts is what training has made of them.
    """

    reference = "Zeng et al. 2023, arXiv 2305.17682"
    Settings = PropetlSettings
    # The authors' RoBERTa scripts; the scores have their own rate.
    learning_rate, weight_decay = 1e-4, 0.1

    def hooks(self, model: nn.Module, training: TrainingConfig, total_steps: int) -> Hooks:
        from rocoft_bench.methods.modules.shared_mask import ScoreRate

        return ScoreRate(self.settings.score_learning_rate)

    def stored_parameters(self, model: nn.Module, trained: int) -> int:
        """The prototype's values: the masks are stored as bits."""
        for part in self._fixable(model).values():
            trained -= sum(p.numel() for p in part.parameters())
            trained += sum(tensor.numel() for tensor in part.made().values() if tensor.is_floating_point())
        return trained

    def own_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        tensors = super().own_tensors(model)
        for name, part in self._fixable(model).items():
            for parameter, _ in part.named_parameters(prefix=name):
                del tensors[parameter]
            tensors |= {f"{name}.{key}": tensor for key, tensor in part.made().items()}
        return tensors

    def attach_to_load(self, model: Any) -> None:
        self.attach(model)
        for part in self._fixable(model).values():
            part.fix()

    def _fixable(self, model: nn.Module) -> dict[str, Fixable]:
        from rocoft_bench.methods.modules.shared_mask import Fixable
        from rocoft_bench.methods.modules.wrappers import modules_of

        return modules_of(model, Fixable)


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
        made = wrap(model, ["ffn_out"], lambda layer: MaskedBottleneck(layer, s.bottleneck, s.keep))
        share(list(made.values()), "down", "up")

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        m, layers = self.settings.bottleneck, shapes.targeted(["ffn_out"])
        d = layers[0].d_out
        return 2 * d * m + m + d + len(layers) * 2 * d * m


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
        from rocoft_bench.methods.modules.attention_prefix import MaskedPrefix, put_prefixes
        from rocoft_bench.methods.modules.shared_mask import share

        s = self.settings
        prefixes = put_prefixes(
            model,
            lambda width, device: MaskedPrefix(
                s.num_virtual_tokens, model.config.hidden_size, s.hidden_size, width, s.keep, device
            ),
        )
        share(prefixes, "prototype")

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        widths = shapes.key_widths
        scores = sum(2 * self.settings.num_virtual_tokens * width for width in widths)
        return self._made_by_mlp(shapes.hidden_size, 2 * widths[0]) + scores

    def other_counts(self, shapes: ModelShapes) -> dict[str, int]:
        return {"the prefix unshared": self._made_by_mlp(shapes.hidden_size, 2 * sum(shapes.key_widths))}

    def _made_by_mlp(self, d_model: int, width: int) -> int:
        """Parameters behind a prefix (l, width)."""
        hidden = self.settings.hidden_size
        return self.settings.num_virtual_tokens * d_model + (d_model + 1) * hidden + (hidden + 1) * width


class PropetlLoRASettings(PropetlSettings):
    rank: Count = 32
    """r, the inner dimension of the shared product."""
    alpha: Alpha = 48
    keep: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the prototype's entries that each layer's mask lets through."""
    score_learning_rate: PositiveFloat = 3e-2
    """Peak learning rate of the scores that decide the masks."""
    target_modules: Targets = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults


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
        made = wrap(model, s.target_modules, lambda layer: MaskedLoRA(layer, s.rank, s.alpha / s.rank, s.keep))
        alike: dict[tuple[str, int, int], list[MaskedLoRA]] = {}
        for name, layer in made.items():
            alike.setdefault(prototype_of(name, layer.d_in, layer.d_out), []).append(layer)
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
