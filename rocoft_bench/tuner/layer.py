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
    """Wraps an `nn.Linear` or `Conv1D`. Per adapter it holds the trained entries of W and where they belong.

    `rocoft_weight` holds entries of W, not a change of W, so that weight decay acts on the weights themselves; rows
    (r, d_in), columns (d_out, r) or entries (n,). `rocoft_bias` (d_out,) exists where `train_bias` asks for it.
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
        self._originals: list[tuple[Tensor, Tensor, str]] = []  # what merge() overwrote
        self._original_bias: Tensor | None = None
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.out_features, self.in_features = self.matrix.shape

    @property
    def matrix(self) -> Tensor:
        """The frozen weight as (d_out, d_in), a view, whatever way round the base layer stores it."""
        base = self.get_base_layer()
        return base.weight.t() if isinstance(base, Conv1D) else base.weight

    def update_layer(
        self, adapter_name: str, config: RoCoFTConfig, rank: int, layer_name: str, inference_mode: bool = False
    ) -> None:
        """Add an adapter. Trained values start as the pretrained ones, so the layer's output does not change."""
        self.configs[adapter_name] = config
        self.rocoft_indices[adapter_name] = self._select(config, rank, layer_name).to(self.matrix.device)
        with torch.no_grad():
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
        config = self.configs[adapter_name]
        values = selection.read(self.matrix.detach(), self.rocoft_indices[adapter_name], config.mode)
        return values if config.init_weights else torch.randn_like(values)

    @torch.no_grad()
    def reselect(self, adapter_name: str, input_norms: Tensor) -> None:
        """Choose the trained rows or columns anew by Wanda score. `input_norms` (d_in,) holds ||X_j||_2."""
        config = self.configs[adapter_name]
        scores = selection.wanda_scores(self.matrix, input_norms, config.mode)
        count = len(self.rocoft_indices[adapter_name])
        self.rocoft_indices[adapter_name] = selection.by_score(scores, count, config.selection)
        self.rocoft_weight[adapter_name].copy_(self._initial_values(adapter_name))

    def delta(self, adapter_name: str) -> Tensor:
        """Trained minus frozen values, in the trained values' precision; the shape of `rocoft_weight`."""
        frozen = selection.read(self.matrix.detach(), self.rocoft_indices[adapter_name], self.configs[adapter_name].mode)
        return self.rocoft_weight[adapter_name] - frozen

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x (..., d_in) -> (..., d_out)."""
        if self.disable_adapters:
            self.unmerge() if self.merged else None
            return self.base_layer(x, *args, **kwargs)
        names = [name for name in self.active_adapters if name in self.rocoft_weight]
        if self.merged or not names:
            return self.base_layer(x, *args, **kwargs)
        self._check_calibrated(names)
        if len(names) == 1 and not _has_hooks(self.base_layer):
            return self._fused_forward(x, names[0])
        return self._general_forward(x, names)

    def _fused_forward(self, x: Tensor, name: str) -> Tensor:
        bias = self.rocoft_bias[name] if name in self.rocoft_bias else self.bias
        if bias is not None:
            bias = bias.to(self.matrix.dtype)
        mode = self.configs[name].mode
        return fused_linear(mode, x, self.matrix.detach(), bias, self.delta(name), self.rocoft_indices[name])

    def _general_forward(self, x: Tensor, names: list[str]) -> Tensor:
        y = self.base_layer(x)
        for name in names:
            y = add_update(
                self.configs[name].mode, y, x, self.delta(name), self.rocoft_indices[name], self.matrix.shape
            )
            if name in self.rocoft_bias:
                y = y + (self.rocoft_bias[name] - self.bias.detach()).to(y.dtype)
        return y

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

        Raises:
            ValueError: With `safe_merge`, if a merged value is not finite; the base layer is then unchanged.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.rocoft_weight]
        if not names:
            return
        self._check_calibrated(names)
        names = self.merged_adapters + names
        self._restore()  # every delta is taken against the frozen weight, not against another adapter's
        changes = [(name, self.delta(name)) for name in names]
        if safe_merge and not all(torch.isfinite(change).all() for _, change in changes):
            raise ValueError(f"NaNs detected in the merged weights. One of the adapters {names} seems to be broken")
        self._keep_originals(names)
        for name, change in changes:
            indices, mode = self.rocoft_indices[name], self.configs[name].mode
            values = selection.read(self.matrix.data, indices, mode)
            selection.write(self.matrix.data, indices, mode, values + change)
        self._merge_biases(names)
        self.merged_adapters = names

    def _keep_originals(self, names: list[str]) -> None:
        for name in names:
            indices, mode = self.rocoft_indices[name], self.configs[name].mode
            self._originals.append((selection.read(self.matrix.data, indices, mode), indices, mode))

    def _merge_biases(self, names: list[str]) -> None:
        if any(name in self.rocoft_bias for name in names):
            original = self._original_bias = self.bias.data.clone()
            self.bias.data += sum(self.rocoft_bias[name] - original for name in names if name in self.rocoft_bias)

    def unmerge(self) -> None:
        """Put back the exact values that `merge` overwrote."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.")
            return
        self._restore()

    @torch.no_grad()
    def _restore(self) -> None:
        for values, indices, mode in self._originals:
            selection.write(self.matrix.data, indices.to(self.matrix.device), mode, values.to(self.matrix.device))
        if self._original_bias is not None:
            self.bias.data.copy_(self._original_bias)
        self._originals, self._original_bias, self.merged_adapters = [], None, []

    def __repr__(self) -> str:
        return "rocoft." + super().__repr__()


def _has_hooks(module: nn.Module) -> bool:
    """Whether calling the module does more than its own forward, e.g. weights that accelerate loads just in time."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or hasattr(module, "_hf_hook")
    )
