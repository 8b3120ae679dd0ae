"""The tuner layer: a frozen linear layer with a few trained rows, columns or entries."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners._buffer_dict import BufferDict
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.config import RoCoFTConfig
from rocoft_bench.tuner.functional import add_update, fused_linear


class RoCoFTLayer(nn.Module, BaseTunerLayer):
    """What a layer knows about its adapters: the trained entries of W, where they belong, and how to merge them.

    `rocoft_weight` holds entries of W, not a change of W, so that weight decay acts on the weights themselves: r rows
    (r, d_in), r columns (r, d_out) or n entries (n,). `rocoft_bias` (d_out,) exists where `train_bias` asks for it.
    `rocoft_indices` (int32) is saved with them. The base layer's tensors change only while an adapter is merged.
    """

    adapter_layer_names = ("rocoft_weight", "rocoft_bias")
    other_param_names = ("rocoft_indices", "configs")

    def __init__(self, base_layer: nn.Module, adapter_name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.rocoft_weight = nn.ParameterDict()
        self.rocoft_bias = nn.ParameterDict()
        self.rocoft_indices = BufferDict(persistent=True)
        self.configs: dict[str, RoCoFTConfig] = {}
        self._overwritten: list[tuple[str, Tensor, Tensor]] = []  # by merge(): mode, indices, values of W there
        self._overwritten_bias: Tensor | None = None
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.out_features, self.in_features = self.matrix.shape

    @property
    def matrix(self) -> Tensor:
        """The frozen weight as (d_out, d_in), a view, whatever way round the base layer stores it."""
        weight: Tensor = self.weight.detach()
        return weight.t() if isinstance(self.get_base_layer(), Conv1D) else weight

    def update_layer(
        self, adapter_name: str, config: RoCoFTConfig, rank: int, layer_name: str, inference_mode: bool = False
    ) -> None:
        """Add an adapter. Trained values start as the pretrained ones, so the layer's output does not change."""
        self.configs[adapter_name] = config
        self.rocoft_indices[adapter_name] = self._select(config, rank, layer_name).to(self.matrix.device)
        self.rocoft_weight[adapter_name] = nn.Parameter(self._initial_values(adapter_name))
        if config.train_bias and self.bias is not None:
            self.rocoft_bias[adapter_name] = nn.Parameter(self.bias.detach().clone())
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def _select(self, config: RoCoFTConfig, rank: int, layer_name: str) -> Tensor:
        generator = selection.layer_generator(config.seed, layer_name)
        if config.mode == "random":
            entries = self.matrix.numel()
            return selection.sample(entries, max(1, round(config.probability * entries)), generator)
        size = self.matrix.shape[0 if config.mode == "row" else 1]
        if rank > size:
            warnings.warn(f"{layer_name}: rank {rank} is above its {size} {config.mode}s; all {size} are trained")
            rank = size
        if config.selection == "random":
            return selection.sample(size, rank, generator)
        return selection.first(rank)  # a scored selection replaces these in `reselect`

    def _initial_values(self, adapter_name: str) -> Tensor:
        values = self._read(adapter_name)
        return values if self.configs[adapter_name].init_weights else torch.randn_like(values)

    @torch.no_grad()
    def reselect(self, adapter_name: str, config: RoCoFTConfig, input_norms: Tensor) -> None:
        """Choose the trained rows or columns anew by Wanda score. `input_norms` (d_in,) holds ||X_j||_2."""
        self.configs[adapter_name] = config
        scores = selection.wanda_scores(self.matrix, input_norms, config.mode)
        count = len(self.rocoft_indices[adapter_name])
        self.rocoft_indices[adapter_name] = selection.by_score(scores, count, config.selection)
        self.rocoft_weight[adapter_name].copy_(self._initial_values(adapter_name))

    def _read(self, adapter_name: str) -> Tensor:
        """A copy of the base weight's values at the adapter's indices."""
        return selection.read(self.matrix, self.rocoft_indices[adapter_name], self.configs[adapter_name].mode)

    def delta(self, adapter_name: str) -> Tensor:
        """Trained minus frozen values, in the trained values' precision; the shape of `rocoft_weight`."""
        return self.rocoft_weight[adapter_name] - self._read(adapter_name)

    def _check_calibrated(self, names: list[str]) -> None:
        for name in names:
            if self.configs[name].needs_calibration:
                raise RuntimeError(
                    f"adapter {name!r} chooses its rows or columns by score (selection="
                    f"{self.configs[name].selection!r}): call rocoft_bench.calibrate(model, batches) first"
                )

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Write the trained values into the base layer. What they overwrite is kept, so `unmerge` is exact.

        One adapter's values become the base layer's values; where adapters overlap, their changes add up.

        Raises:
            ValueError: With `safe_merge`, if a trained value is not finite in the base layer's precision; the base
                layer is then as it was.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.rocoft_weight]
        if not names:
            return
        self._check_calibrated(names)
        if safe_merge:
            self._check_finite(names)
        names = self.merged_adapters + names
        self._restore()  # every change is taken against the frozen weight, not against another adapter's
        self._overwritten = [(self.configs[n].mode, self.rocoft_indices[n].clone(), self._read(n)) for n in names]
        for name, (mode, indices, frozen) in zip(names, self._overwritten, strict=True):
            trained = self.rocoft_weight[name]
            values = trained if name == names[0] else self._read(name) + (trained - frozen)
            selection.write(self.matrix, indices, mode, values)
        self._merge_biases([name for name in names if name in self.rocoft_bias])
        self.merged_adapters = names

    def _check_finite(self, names: list[str]) -> None:
        for name in names:
            for values in (group[name] for group in (self.rocoft_weight, self.rocoft_bias) if name in group):
                if not torch.isfinite(values.to(self.matrix.dtype)).all():
                    raise ValueError(f"NaNs detected in the merged weights. The adapter {name} seems to be broken")

    def _merge_biases(self, names: list[str]) -> None:
        if names:
            frozen = self._overwritten_bias = self.bias.detach().clone()
            self.bias.copy_(self.rocoft_bias[names[0]])
            for name in names[1:]:
                self.bias.add_(self.rocoft_bias[name] - frozen)

    def unmerge(self) -> None:
        """Put back the exact values that `merge` overwrote."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.")
            return
        self._restore()

    @torch.no_grad()
    def _restore(self) -> None:
        for mode, indices, frozen in self._overwritten:
            selection.write(self.matrix, indices, mode, frozen)
        if self._overwritten_bias is not None:
            self.bias.copy_(self._overwritten_bias)
        self._overwritten, self._overwritten_bias, self.merged_adapters = [], None, []


class Linear(RoCoFTLayer):
    """Stands in the place of an `nn.Linear` or `Conv1D`. (PEFT's "all-linear" goes by the name of this class.)"""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        names = [name for name in self.active_adapters if name in self.rocoft_weight]
        if self.disable_adapters or self.merged or not names:
            return self.base_layer(x, *args, **kwargs)
        self._check_calibrated(names)
        if len(names) == 1 and _is_plain_product(self.base_layer):
            return self._fused_forward(x, names[0])
        y = self.base_layer(x, *args, **kwargs)
        for name in names:
            y = self._add(name, x, y)
        return y

    def _fused_forward(self, x: Tensor, name: str) -> Tensor:
        bias = self.rocoft_bias.get(name, self.base_layer.bias)
        return fused_linear(self.configs[name].mode, x, self.matrix, bias, self.delta(name), self.rocoft_indices[name])

    def _add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        mode, indices = self.configs[name].mode, self.rocoft_indices[name]
        y = add_update(mode, y, x, self.delta(name), indices, self.matrix.shape)
        if name in self.rocoft_bias:
            y = y + (self.rocoft_bias[name] - self.bias.detach()).to(y.dtype)
        return y

    def __repr__(self) -> str:
        return "rocoft." + super().__repr__()


def _is_plain_product(base: nn.Module) -> bool:
    """Whether calling the layer computes x Wᵀ + b with a frozen W and does nothing else.

    Not so for a subclass or a wrapper with a forward of its own, or with hooks (accelerate's, a user's).
    """
    return (
        type(base).forward in (nn.Linear.forward, Conv1D.forward)
        and "forward" not in base.__dict__
        and not (base._forward_hooks or base._forward_pre_hooks or base._backward_hooks or base._backward_pre_hooks)
        and not base.weight.requires_grad
    )
