"""Trained rows, columns or entries of a parameter with which more is done than a product: fused experts, embeddings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.bases import whole_weight
from rocoft_bench.tuner.layer import RoCoFTLayer
from rocoft_bench.tuner.recompute import LayerNorms


class ParamWrapper(RoCoFTLayer):
    """Stands in the place of a module, one of whose parameters it trains in part; for several, wrappers are nested.

    The parameter is a matrix, or E of them (E, d_out, d_in), of each of which the same rows or columns are trained. The
    module computes with a changed copy of it, which exists from the forward to the backward pass, as in peft's LoRA.
    (PEFT finds wrappers by the name of this class.)

    Raises:
        RuntimeError: If the parameter is not here as a whole.
    """

    def __init__(self, base_layer: nn.Module, adapter_name: str, layer_norms: LayerNorms, parameter_name: str) -> None:
        self.parameter_name = parameter_name
        super().__init__(base_layer, adapter_name, layer_norms)

    @property
    def trains_bias(self) -> bool:  # type: ignore[override]
        return self.parameter_name == "weight" and isinstance(self.get_base_layer(), nn.Linear)

    @property
    def matrix(self) -> Tensor:
        """The frozen matrix (d_out, d_in), or matrices (E, d_out, d_in), a view."""
        base = self.get_base_layer()
        weight = whole_weight(base, self.parameter_name, dims=(2, 3)).detach()
        return weight.mT if self._is_transposed else weight

    @property
    def _is_transposed(self) -> bool:
        return bool(getattr(self.get_base_layer(), "is_transposed", False))  # transformers' word, of some experts

    def forward(self, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any) -> Any:
        if self.disable_adapters and self.merged:
            self.unmerge()
        names = self._active()
        if adapter_names is not None and not self.disable_adapters:
            raise ValueError(
                f"a batch that mixes adapters cannot pass a {type(self.get_base_layer()).__name__} with adapters: give "
                "each adapter a batch of its own, by set_adapter"
            )
        if not names:
            return self.base_layer(*args, **kwargs)
        self._check_calibrated(names)
        changed = {self._inner_name(self.parameter_name): self._changed(names)} | self._changed_bias(names)
        return functional_call(self.base_layer, changed, args, kwargs)

    def _changed(self, names: list[str]) -> Tensor:
        """A copy of the parameter with the trained values in it; of several adapters the changes add up."""
        weight = self.matrix
        for name in names:
            entries = self.entries(name)
            values: Tensor = entries.weight
            if name != names[0]:
                values = selection.read(weight, entries.indices, entries.mode) + self.delta(name)
            weight = selection.written(weight, entries.indices, entries.mode, values)
        return weight.mT if self._is_transposed else weight

    def _changed_bias(self, names: list[str]) -> dict[str, Tensor]:
        """By its name, if it is trained."""
        biases = [bias for name in names if (bias := self.entries(name).bias) is not None]
        if not biases:
            return {}
        frozen = self.bias.detach()
        return {self._inner_name("bias"): (sum(biases) - (len(biases) - 1) * frozen).to(frozen.dtype)}

    def _inner_name(self, name: str) -> str:
        """A parameter's name seen from `base_layer`, which may be a wrapper of another one."""
        inner = self.base_layer
        while isinstance(inner, RoCoFTLayer):
            name, inner = f"base_layer.{name}", inner.base_layer
        return name

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Merged for as long as this lasts: passes without gradients need no copy."""
        names = self._active()
        if not names:
            yield
            return
        self._write(names)
        try:
            yield
        finally:
            self._restore()

    def unload_and_optionally_merge_module(self, merge: bool, safe_merge: bool, adapter_names: list[str] | None) -> Any:
        """Called by PEFT, which sees the outermost of nested wrappers only. Returns the module inside them all."""
        layer: Any = self
        while isinstance(layer, ParamWrapper):
            if merge:
                layer.merge(safe_merge, adapter_names)
            layer = layer.base_layer
        return layer
