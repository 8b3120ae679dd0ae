"""Trained rows, columns or entries in full precision over a base whose weights are quantised."""

import copy
import warnings
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from peft.utils.quantization_utils import QuantizationBackend
from torch import Tensor, nn

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.bases import quantisation_of
from rocoft_bench.tuner.layer import Linear
from rocoft_bench.tuner.recompute import LayerNorms
from rocoft_bench.tuner.selection import Place


class QuantizedLinear(Linear):
    """Stands in the place of a quantised linear layer, such as bitsandbytes' `Linear4bit`.

    Output = the base's own product, corrected on the trained entries S by x (trained - kept)ᵀ. What S replaces is kept:
    the base's values there, dequantised once. No dense copy is kept, and gradients to x go through the base's own path.
    """

    def __init__(
        self, base_layer: nn.Module, adapter_name: str, layer_norms: LayerNorms, backend: QuantizationBackend
    ) -> None:
        self.backend = backend
        super().__init__(base_layer, adapter_name, layer_norms)
        self._kept: dict[str, tuple[Place, Tensor]] = {}
        self._unmerged: list[Any] = []  # the base layer, while one with merged adapters stands in its place
        self.rounding_error = 0.0  # the largest of the merged weight's entries

    @property
    def matrix(self) -> Tensor:
        """A dequantised copy of the weight (d_out, d_in)."""
        return self.backend.get_base_weight(self.get_base_layer()).detach()

    def _read(self, adapter_name: str) -> Tensor:
        entries = self.entries(adapter_name)
        place, values = self._kept.get(adapter_name, (None, None))
        if values is None or place is not entries.place:  # which is another one when the selection changes
            values = selection.read(self.matrix, entries.place, entries.mode)
            self._kept[adapter_name] = entries.place, values
        return values

    def _add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        if x.requires_grad and torch.is_grad_enabled() and not y.requires_grad:
            raise RuntimeError(
                f"the product of a layer that {self.backend.backend_name} quantised passes no gradient back to its "
                "input, so what is trained below would not learn: quantise weights alone (of torchao, by "
                "Int8WeightOnlyConfig), no activations. Under torch.no_grad() such a base serves trained adapters"
            )
        return super()._add(name, x, y)

    @torch.no_grad()
    def _write(self, names: list[str]) -> None:
        """A quantised copy of the base with the trained values in it; of several adapters, changes add up."""
        self.merged_adapters = names
        if not names:
            return
        dense = self.matrix.clone()
        for name in names:
            entries = self.entries(name)
            before = selection.read(dense, entries.place, entries.mode)
            values = entries.all_values if name == names[0] else before + self.delta(name)
            selection.write(dense, entries.place, entries.mode, values)
        self._unmerged = [self.base_layer]
        self.base_layer = copy.deepcopy(self.base_layer)
        self.backend.set_base_weight(self, dense)
        self.rounding_error = float((self.matrix - dense).abs().max())
        self._write_biases([bias for name in names if (bias := self.entries(name).bias) is not None])

    @torch.no_grad()
    def _restore(self) -> None:
        if self._unmerged:
            (self.base_layer,) = self._unmerged
        self._unmerged, self._overwritten_bias, self.merged_adapters = [], None, []


def keep_trainable(model: nn.Module) -> None:
    """Let bitsandbytes leave 4-bit weights as they are: on a CPU with AVX512-BF16 it would repack them for the first
    pass without gradients, and compute none after that."""
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def dequantize(model: Any) -> None:
    """Replace quantised linear layers by ones with the values that they stand for, into which adapters merge exactly.

    Raises:
        ValueError: If a layer has merged adapters.
    """
    layers = [module for module in model.modules() if isinstance(module, QuantizedLinear)]
    if any(layer.merged for layer in layers):
        raise ValueError("adapters are merged: call model.unmerge_adapter() first")
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            wraps = isinstance(child, BaseTunerLayer | AuxiliaryTrainingWrapper)  # and has the weight of what is inside
            if not wraps and (backend := quantisation_of(child, base)) is not None:
                setattr(parent, name, _plain(child, backend, getattr(base, "dtype", None)))
    for parent, name, layer in [(p, n, c) for p in model.modules() for n, c in p.named_children() if c in layers]:
        setattr(parent, name, _adapted(layer))
    if (quantizer := getattr(base, "hf_quantizer", None)) is not None:
        quantizer.remove_quantization_config(base)
        base.is_loaded_in_4bit = base.is_loaded_in_8bit = False


def _plain(layer: Any, backend: QuantizationBackend, dtype: torch.dtype | None) -> nn.Linear:
    weight = backend.get_base_weight(layer).detach()
    plain = nn.Linear(1, 1, bias=layer.bias is not None, device="meta")
    plain.out_features, plain.in_features = weight.shape
    plain.weight = nn.Parameter(weight.to(dtype or weight.dtype), requires_grad=False)
    if layer.bias is not None:
        plain.bias = layer.bias
    return plain


def _adapted(layer: QuantizedLinear) -> Linear:
    """A layer with the same adapters around a base that is no longer quantised."""
    plain = Linear(layer.base_layer, "", layer.layer_norms)
    plain.rocoft_adapter, plain.training = layer.rocoft_adapter, layer.training
    plain._active_adapter, plain._disable_adapters = layer._active_adapter, layer._disable_adapters
    return plain


def warn_of_rounding(layers: dict[str, QuantizedLinear]) -> None:
    """Say how far off the merged weights of quantised layers are."""
    if errors := {name: layer.rounding_error for name, layer in layers.items()}:
        worst = max(errors, key=lambda name: errors[name])
        warnings.warn(
            f"merged into quantised weights, which rounds them: an entry of {worst} is off by {errors[worst]:.2g}, no "
            "other by more. To merge exactly, call rocoft_bench.dequantize(model) before"
        )
