"""Trained values in the weight itself, for a product or for a pass: the layer computes its product and nothing else."""

import threading
from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.selection import Place

ONE_AT_A_TIME = threading.RLock()
"""Threads that share a model must not see each other's values in it."""


class StandingValues:
    """Trained values and their place in a weight W (d_out, d_in), where they stand for a product or a whole pass."""

    def __init__(
        self, weight: Tensor, trained: Tensor, place: Place, mode: str, parameter: Tensor | None = None
    ) -> None:
        self.weight, self.trained, self.place, self.mode = weight, trained, place, mode
        self._parameter = weight if parameter is None else parameter  # of which W is a view
        self._layout = _layout_of(self._parameter)
        self.replaced: Tensor = trained  # the frozen values, once the trained ones are put in
        self.adapter = ""  # whose they are, where they stand for a pass
        self._data = weight.data  # through which autograd is told of nothing, since W is as it was whenever it looks
        self.address = weight.data_ptr()
        self._seen = _state_of(weight, trained)
        self.part: Tensor | None = None  # a view of rows (r, d_in) or columns (r, d_out) that follow one another
        if mode != "random" and isinstance(place, slice):
            self.part = selection.taken(self._data if mode == "row" else self._data.t(), place, 0)

    def fits(self, parameter: Tensor, trained: Tensor, place: Place) -> bool:
        """Whether these views are of what there is now."""
        is_same = parameter is self._parameter and trained is self.trained and place is self.place
        return is_same and _layout_of(parameter) == self._layout

    def is_of(self, weight: Tensor, trained: Tensor) -> bool:
        """Whether these values stand in W, which nobody has moved or changed since, nor the values."""
        return self._seen == _state_of(weight, trained)

    def read(self) -> Tensor:
        """A copy of what is in W."""
        return selection.read(self._data, self.place, self.mode) if self.part is None else self.part.clone()

    def write(self, values: Tensor) -> None:
        """Into W."""
        if self.part is None:
            selection.write(self._data, self.place, self.mode, values)
        else:
            self.part.copy_(values)

    def take_out_of_copy(self, matrix: Tensor) -> None:
        """The frozen values into what has taken W's place since, if that is a copy with the trained ones in it."""
        if matrix.shape != self._data.shape or matrix.is_meta:
            return
        found = selection.read(matrix.data, self.place, self.mode)
        if torch.allclose(found, self.trained.to(found), rtol=0, atol=0, equal_nan=True):
            selection.write(matrix.data, self.place, self.mode, self.replaced)


def _layout_of(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride()


def _state_of(weight: Tensor, trained: Tensor) -> tuple[int, ...]:
    return weight.data_ptr(), _changes(weight), trained.data_ptr(), _changes(trained)


def _changes(tensor: Tensor) -> int:
    """So often a tensor was changed; one of inference mode does not count."""
    return 0 if tensor.is_inference() else tensor._version


def keep_frozen(standings: Collection[StandingValues]) -> None:
    """Copies what trained values are to replace: of all that are slices in one operation, on a GPU in one launch."""
    with torch.inference_mode(False), torch.no_grad():  # what is replaced may be needed in training
        parts = [(standing, standing.part) for standing in standings if standing.part is not None]
        for standing, part in parts:
            standing.replaced = torch.empty_like(part, memory_format=torch.contiguous_format)
        if parts:
            torch._foreach_copy_([standing.replaced for standing, _ in parts], [part for _, part in parts])
        for standing in standings:
            standing._seen = _state_of(standing.weight, standing.trained)
            if standing.part is None:
                standing.replaced = standing.read()


def put_in(standings: Collection[StandingValues]) -> None:
    """Puts trained values into their weights, after `keep_frozen`."""
    _write([(standing, standing.trained.detach()) for standing in standings])


def take_out(standings: Collection[StandingValues]) -> None:
    """Puts the frozen values back."""
    _write([(standing, standing.replaced) for standing in standings])


@torch.no_grad()
def _write(values: list[tuple[StandingValues, Tensor]]) -> None:
    parts = [(standing.part, value) for standing, value in values if standing.part is not None]
    if parts:
        torch._foreach_copy_([part for part, _ in parts], [value for _, value in parts])
    for standing, value in values:
        if standing.part is None:
            standing.write(value)


class MergeableBase(Protocol):
    """A layer into whose weight adapters are merged, or in whose weight trained values stand."""

    own_changes: int
    """How often it has written into the weight, by the weight's version counter."""
    standing_values: StandingValues | None

    @property
    def merged(self) -> bool: ...

    def frozen(self) -> AbstractContextManager[None]:
        """The weight without any adapter, for as long as this lasts."""

    def put_back(self) -> None:
        """The frozen values into the weight, if trained ones stand there."""


class InWeight:
    """Trained values in W for a product, unless they stand there; gives the ones that they replace.

    So whoever looks at W between two passes sees the frozen one: a state dict, a copy, another adapter, a tied module.
    A context manager of its own class, since it is entered twice a layer and step. replaced: what is known of W to be
    there.
    """

    __slots__ = ("base", "is_put", "replaced", "trained", "values")

    def __init__(
        self, values: StandingValues, trained: Tensor, base: MergeableBase | None = None, replaced: Tensor | None = None
    ) -> None:
        self.values, self.trained, self.base, self.replaced = values, trained, base, replaced
        self.is_put = False

    def __enter__(self) -> Tensor:
        ONE_AT_A_TIME.acquire()
        try:
            there = None if self.base is None else self.base.standing_values
            if self.base is not None and there is not None:
                if there is self.values or there.is_of(self.values.weight, self.values.trained):
                    return there.replaced
                self.base.put_back()
            replaced = self.replaced = self.values.read() if self.replaced is None else self.replaced
            self.is_put = True
            self.values.write(self.trained.detach())
            return replaced
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        try:
            if self.is_put and self.replaced is not None:
                self.values.write(self.replaced)
        finally:
            ONE_AT_A_TIME.release()


PLAIN_TYPES = (nn.Parameter, Tensor)


def parameter(module: Any, name: str) -> Any:
    """A module's parameter, without the search of `nn.Module.__getattr__`, which takes half a microsecond each time."""
    return module._parameters[name] if name in module._parameters else getattr(module, name)


def may_stand(base: Any) -> bool:
    """Whether trained values can be put into the weight of a layer for the moment of its product.

    The layer must compute x Wᵀ + b with a frozen W and nothing else, see `is_bare`. The weight must be a plain tensor
    that no other process sees.
    """
    return (
        is_bare(base)
        and type(weight := base.weight) in PLAIN_TYPES
        and not (weight.requires_grad or weight.is_meta or weight.is_inference())
        and (weight.is_cuda or not weight.is_shared())
    )


def is_bare(base: Any) -> bool:
    """Whether a layer has no forward of its own as subclass or wrapper, and no hooks, accelerate's or a user's."""
    return (
        type(base).forward in (nn.Linear.forward, Conv1D.forward)
        and "forward" not in base.__dict__
        and not (base._forward_hooks or base._forward_pre_hooks or base._backward_hooks or base._backward_pre_hooks)
    )


def is_transformed() -> bool:
    """Whether what runs is compiled, traced, transformed or differentiated forwards, not by a backward pass alone."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch._C._functorch.maybe_current_level() is not None  # torch.func
        or torch.autograd.forward_ad._current_level >= 0
    )
