"""The tuner layer: a frozen linear layer with a few trained rows, columns or entries."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.bases import whole_weight
from rocoft_bench.tuner.config import RoCoFTConfig
from rocoft_bench.tuner.entries import TrainedEntries, layout, started
from rocoft_bench.tuner.functional import add_update, entries_of_product, in_place_linear
from rocoft_bench.tuner.in_place import (
    ONE_AT_A_TIME,
    PLAIN_TYPES,
    StandingValues,
    is_bare,
    is_transformed,
    may_stand,
    parameter,
    take_out,
)
from rocoft_bench.tuner.recompute import LayerNorms, product_with


class RoCoFTLayer(nn.Module, BaseTunerLayer):
    """What a layer knows about its adapters: what each of them trains, and how to merge it.

    `parameter_name` is the base layer's parameter that is trained in part.

    `rocoft_adapter` has a `TrainedEntries` for each adapter of this layer. The base layer's tensors change only while
    an adapter is merged, and for the moment of a product.
    """

    adapter_layer_names = ("rocoft_adapter",)
    other_param_names = ()
    parameter_name = "weight"
    trains_bias = True

    def __init__(self, base_layer: nn.Module, adapter_name: str, layer_norms: LayerNorms) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.layer_norms = layer_norms  # of the whole model
        self.rocoft_adapter = nn.ModuleDict()
        self._ranks: dict[str, int] = {}  # by adapter
        self._overwritten: list[tuple[str, Tensor, Tensor]] = []  # by merge(): mode, indices, values of W there
        self._overwritten_bias: Tensor | None = None
        self.own_changes = 0  # of the weight, by merging and unmerging
        self.is_tied = False  # whether other modules have the same weight, which merging must leave them
        self._tied_weight: nn.Parameter | None = None  # while this layer has a weight of its own instead
        self.standing_values: StandingValues | None = None
        self._last_standing: StandingValues | None = None  # in the last pass: views of the weight, made once
        self._disable_adapters = False
        self.merged_adapters: list[str] = []
        self._active_adapter = adapter_name
        self.out_features, self.in_features = self.matrix.shape[-2:]

    def __getstate__(self) -> dict[str, Any]:
        self.forget_views()  # copies and files have the frozen values
        return self.__dict__

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        self.put_back()  # who walks through a model may look at its weights
        return super().named_modules(*args, **kwargs)

    def _save_to_state_dict(self, *args: Any) -> None:
        self.put_back()
        super()._save_to_state_dict(*args)

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        self.forget_views()
        return super()._apply(*args, **kwargs)

    def delete_adapter(self, adapter_name: str) -> None:
        self.forget_views()
        super().delete_adapter(adapter_name)

    @property
    def weight(self) -> Tensor:
        """The frozen one, also where a model computes with it itself during a pass."""
        self.put_back()
        return super().weight

    def forget_views(self) -> None:
        """No longer keep memory that the weight or an adapter may be about to leave."""
        self.put_back()
        self._last_standing = None

    def put_back(self) -> None:
        """The frozen values into the weight, if trained ones stand there."""
        if self.standing_values is not None:
            with ONE_AT_A_TIME:
                if (values := self.standing_values) is not None:  # no other thread has been faster
                    take_out([values])
                    self.stands_no_more(values)

    def stands_no_more(self, values: StandingValues) -> None:
        """To be called after values have been taken out of the weight: also of a copy that has its place since."""
        self.standing_values = None
        weight: Any = self.base_layer.weight
        if weight.data_ptr() != values.address and type(weight) in PLAIN_TYPES and weight.dim() == 2:
            values.take_out_of_copy(self._as_matrix(weight))
        values.replaced = values.trained  # what they replaced is kept only as long as they stand

    @property
    def matrix(self) -> Tensor:
        """The frozen weight as (d_out, d_in), a view, whatever way round the base layer stores it.

        Raises:
            RuntimeError: If it is not here as a whole: offloaded, partitioned or sharded.
        """
        return self._as_matrix(whole_weight(self.get_base_layer()).detach())

    def _as_matrix(self, weight: Tensor) -> Tensor:
        return weight.t() if isinstance(self.get_base_layer(), Conv1D) else weight

    def entries(self, adapter_name: str) -> TrainedEntries:
        adapters: Any = self._modules["rocoft_adapter"]
        entries = adapters._modules[adapter_name]
        assert isinstance(entries, TrainedEntries)
        return entries

    def update_layer(
        self, adapter_name: str, config: RoCoFTConfig, rank: int, layer_name: str, inference_mode: bool = False
    ) -> None:
        """Add an adapter. Trained values start as the pretrained ones, so the layer's output does not change.

        With the very configuration of another adapter it is to be a copy of that, and has its selection: trl copies
        the trained values of DPO's and GRPO's reference, but no buffers.
        """
        others = [other for name in self.rocoft_adapter if (other := self.entries(name)).config is config]
        with self.frozen():
            indices = others[0].indices.clone() if others else self._select(config, rank, layer_name)
            indices = indices.to(self.matrix.device)
            values = selection.read(self.matrix, indices, layout(config.mode))
            has_bias = config.train_bias and self.trains_bias and self.bias is not None
            bias = self.bias.detach().clone() if has_bias else None
        self._ranks[adapter_name] = rank
        if config.is_scored and not others:
            indices = torch.full_like(indices, -1)  # until `calibrate`, or until the adapter's own are loaded
        self.rocoft_adapter[adapter_name] = entries = TrainedEntries(config, indices, started(values, config), bias)
        if others:
            entries.keep(others[0].kept_indices, others[0].kept_values)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)

    def _select(self, config: RoCoFTConfig, rank: int, layer_name: str) -> Tensor:
        generator = selection.layer_generator(config.seed, layer_name)
        if config.mode == "random":
            entries = self.matrix.numel()
            return selection.sample(entries, max(1, round(config.probability * entries)), generator)

        def lines(mode: str, size: int) -> Tensor:
            if rank > size:
                warnings.warn(f"{layer_name}: rank {rank} is above its {size} {mode}s; all {size} are trained")
            count = min(rank, size)
            if config.selection == "random":
                return selection.sample(size, count, generator)
            return torch.arange(count, dtype=torch.int32, device="cpu")  # the first, the paper's default (Section 4)

        return self._of_lines(config.mode, lines)

    def _of_lines(self, mode: str, lines: Callable[[str, int], Tensor]) -> Tensor:
        """The indices of a mode. lines: chooses some of the "row"s or "column"s, given how many there are."""
        rows, columns = self.out_features, self.in_features
        if mode == "row_column":
            return selection.crossed(lines("row", rows), lines("column", columns), self.matrix.shape)
        return lines(mode, rows if mode == "row" else columns)

    def chosen(self, adapter_name: str, scores: dict[str, Tensor], by: str = "max") -> Tensor:
        """The indices that an adapter would have. scores: of each "row" (d_out,) and each "column" (d_in,)."""
        mode, rank = self.entries(adapter_name).config.mode, self._ranks[adapter_name]
        return self._of_lines(mode, lambda each, size: selection.by_score(scores[each], min(rank, size), by))

    def _read(self, adapter_name: str) -> Tensor:
        """A copy of the frozen weight's values at the adapter's indices."""
        self.put_back()
        entries = self.entries(adapter_name)
        return selection.read(self.matrix, entries.all_indices, entries.mode)

    def delta(self, adapter_name: str) -> Tensor:
        """The adapter's minus the frozen values, in the trained ones' precision."""
        return self.entries(adapter_name).all_values - self._read(adapter_name)

    def _active(self) -> list[str]:
        """The adapters that are to be added to the base layer, in which merged ones are already."""
        if self._disable_adapters or self.merged_adapters:
            return []
        return [name for name in self.active_adapters if name in self.rocoft_adapter]

    def _check_calibrated(self, names: list[str]) -> None:
        for name in names:
            if self.entries(name).needs_calibration:
                raise RuntimeError(
                    f"adapter {name!r} chooses its rows or columns by score (selection="
                    f"{self.entries(name).config.selection!r}): call rocoft_bench.calibrate(model, batches) first"
                )

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """The base layer alone, with its own values; adapters that were merged are merged again afterwards."""
        merged, disabled = self.merged_adapters, self._disable_adapters
        self._restore()
        self._disable_adapters = True
        try:
            yield
        finally:
            self._disable_adapters = disabled
            self._write(merged)

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Write the trained values into the base layer. What they overwrite is kept, so `unmerge` is exact.

        One adapter's values become the base layer's values; where adapters overlap, their changes add up.

        Raises:
            ValueError: With `safe_merge`, if a trained value is not finite in the base layer's precision; the base
                layer is then as it was.
        """
        names = [name for name in check_adapters_to_merge(self, adapter_names) if name in self.rocoft_adapter]
        if not names:
            return
        self._check_calibrated(names)
        for name in names if safe_merge else ():
            for values in (self.entries(name).all_values, self.entries(name).bias):
                if values is not None and not torch.isfinite(values.to(self.matrix.dtype)).all():
                    raise ValueError(f"NaNs detected in the merged weights. The adapter {name} seems to be broken")
        names = self.merged_adapters + names
        self._restore()  # every change is taken against the frozen weight, not against another adapter's
        self._write(names)

    def _put(self, mode: str, indices: Tensor, values: Tensor) -> None:
        """Writes into the weight; graphs made before know that merging is no change of the frozen one."""
        weight = self.matrix
        before = 0 if weight.is_inference() else weight._version
        selection.write(weight, indices, mode, values)
        self.own_changes += 0 if weight.is_inference() else weight._version - before

    @torch.no_grad()
    def _write(self, names: list[str]) -> None:
        """Merge into the frozen base layer."""
        if names and self.is_tied:
            self._tied_weight = getattr(self.get_base_layer(), self.parameter_name)
            own = nn.Parameter(self._tied_weight.detach().clone(), requires_grad=False)
            setattr(self.get_base_layer(), self.parameter_name, own)
        self._overwritten = [(self.entries(n).mode, self.entries(n).all_indices.clone(), self._read(n)) for n in names]
        for name, (mode, indices, frozen) in zip(names, self._overwritten, strict=True):
            trained = self.entries(name).all_values
            values = trained if name == names[0] else self._read(name) + (trained - frozen)
            self._put(mode, indices, values)
        self._write_biases([bias for name in names if (bias := self.entries(name).bias) is not None])
        self.merged_adapters = names

    def _write_biases(self, biases: list[Tensor]) -> None:
        if biases:
            frozen = self._overwritten_bias = self.bias.detach().clone()
            self.bias.copy_(biases[0])
            for bias in biases[1:]:
                self.bias.add_(bias - frozen)

    def unmerge(self) -> None:
        """Put back the exact values that `merge` overwrote."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.")
            return
        self._restore()

    @torch.no_grad()
    def _restore(self) -> None:
        self.put_back()
        for mode, indices, frozen in self._overwritten:
            self._put(mode, indices, frozen)
        if self._overwritten_bias is not None:
            self.bias.copy_(self._overwritten_bias)
        if self._tied_weight is not None:
            setattr(self.get_base_layer(), self.parameter_name, self._tied_weight)
            self._tied_weight = None
        self._overwritten, self._overwritten_bias, self.merged_adapters = [], None, []


class Linear(RoCoFTLayer):
    """Stands in the place of an `nn.Linear` or `Conv1D`. (PEFT's "all-linear" goes by the name of this class.)"""

    def forward(self, x: Tensor, *args: Any, adapter_names: list[str] | None = None, **kwargs: Any) -> Tensor:
        """x (..., d_in) -> (..., d_out). adapter_names: of each example, the adapter that it is for, or "__base__"."""
        is_plain = adapter_names is None and not (args or kwargs)
        if is_plain and (values := self.standing_values) is not None and (entries := self._standing_entries(values)):
            return self._in_place(x, entries, values)
        if self.disable_adapters and self.merged:
            self.unmerge()
        names = self._active() if adapter_names is None else []
        if is_plain and len(names) == 1 and not is_transformed() and may_stand(self.base_layer):
            self._check_calibrated(names)
            entries = self.entries(names[0])
            values = self._fitting(entries)
            values = values or StandingValues(self.matrix, entries.all_values, entries.place, entries.mode)
            return self._in_place(x, entries, values)
        self.forget_views()
        if adapter_names is not None and not self.disable_adapters:
            return self._mixed(x, adapter_names, *args, **kwargs)
        y = self.base_layer(x, *args, **kwargs)
        self._check_calibrated(names)
        for name in names:
            y = self._add(name, x, y)
        return y

    def may_be_standing(self, single_entries: bool) -> StandingValues | None:
        """The active adapter's values, if they can stand in the weight."""
        names = [] if self.standing_values else self._active()
        base: Any = self.base_layer
        if len(names) != 1 or not is_bare(base):
            return None
        entries = self.entries(names[0])
        values = self._fitting(entries)
        if values is None or base.weight.requires_grad or self.is_tied:
            is_own = may_stand(base) and base.weight.dim() == 2 and not self.is_tied
            if not (is_own and entries.is_one_tensor):
                return None
            values = StandingValues(self.matrix, entries.weight, entries.place, entries.mode, base.weight)
            self._last_standing = values if entries.weight.is_leaf else None  # no view of what others computed
        values.adapter = names[0]
        return values if single_entries or values.mode != "random" else None

    def _fitting(self, entries: TrainedEntries) -> StandingValues | None:
        """The views of the last pass, if they are of what there is now; others are forgotten."""
        base: Any = self.base_layer
        if self._last_standing is not None and not self._last_standing.fits(base.weight, entries.weight, entries.place):
            self._last_standing = None
        return self._last_standing

    def _standing_entries(self, values: StandingValues) -> TrainedEntries | None:
        """The active adapter's, if just its values stand in the weight, both as they were; else none do any more."""
        if self.active_adapters == [values.adapter] and not (self._disable_adapters or self.merged_adapters):
            entries, weight = self.entries(values.adapter), parameter(self._modules["base_layer"], "weight")
            if values.is_of(weight, parameter(entries, "weight")) and not is_transformed():
                return entries
        self.put_back()
        return None

    def _mixed(self, x: Tensor, names: list[str], *args: Any, **kwargs: Any) -> Tensor:
        if len(names) != len(x):
            raise ValueError(
                "Length of `adapter_names` should be the same as the number of inputs, but got "
                f"{len(names)} and {len(x)} respectively."
            )
        if self.merged:
            raise ValueError(
                "Cannot pass `adapter_names` when there are merged adapters, please call `unmerge_adapter` first."
            )
        y = self.base_layer(x, *args, **kwargs)
        for name in sorted({*names} & {*self.rocoft_adapter}):
            self._check_calibrated([name])
            examples = torch.tensor([i for i, other in enumerate(names) if other == name], device=x.device)
            y = y.index_copy(0, examples, self._add(name, x[examples], y[examples]))
        return y

    def _in_place(self, x: Tensor, entries: TrainedEntries, values: StandingValues) -> Tensor:
        bias, own_bias = parameter(self._modules["base_layer"], "bias"), parameter(entries, "bias")
        bias = bias if own_bias is None else own_bias.to(bias.dtype)
        needs_input = entries.mode != "column" and torch.is_grad_enabled() and entries.weight.requires_grad
        recomputes = needs_input and entries.config.recompute_inputs
        multiply = partial(entries_of_product, entries.place) if entries.mode == "random" else None
        with_x = product_with(x, self.layer_norms, multiply) if recomputes else None
        return in_place_linear(x, bias, values, with_x, self)

    def _add(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        entries, shape = self.entries(name), torch.Size((self.out_features, self.in_features))
        y = add_update(entries.mode, y, x, self.delta(name), entries.all_indices, shape)
        if entries.bias is not None:
            y = y + (entries.bias - self.bias.detach()).to(y.dtype)
        return y

    def __repr__(self) -> str:
        return "rocoft." + super().__repr__()
