"""Trained values in the weight itself, for a product or for a pass: the layer computes its product and nothing else."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.selection import Place

ONE_AT_A_TIME = threading.RLock()
"""Threads that share a model must not see each other's values in it."""


class Standing:
    """Trained values that stand in a weight W (d_out, d_in) for longer than a product."""

    def __init__(self, matrix: Tensor, trained: Tensor, place: Place, mode: str) -> None:
        self.matrix, self.trained, self.place, self.mode = matrix.data, trained.detach(), place, mode
        self.replaced: Tensor = trained  # the frozen values, once the trained ones are put in
        self._seen = _state_of(matrix, trained)

    def is_of(self, matrix: Tensor, trained: Tensor) -> bool:
        """Whether these values stand in W, which nobody has moved or changed since, nor the values."""
        return self._seen == _state_of(matrix, trained)

    @property
    def part(self) -> Tensor | None:
        """A view of the trained rows (r, d_in) or columns (r, d_out); None where they do not follow one another."""
        if self.mode == "random" or not isinstance(self.place, slice):
            return None
        return selection.taken(self.matrix if self.mode == "row" else self.matrix.t(), self.place, 0)

    def take_out_of_copy(self, matrix: Tensor) -> None:
        """The frozen values into what has taken W's place since, if that is a copy with the trained ones in it."""
        if matrix.data_ptr() == self.matrix.data_ptr() or matrix.shape != self.matrix.shape or matrix.is_meta:
            return
        found = selection.read(matrix.data, self.place, self.mode)
        if torch.equal(found, self.trained.to(found)):
            selection.write(matrix.data, self.place, self.mode, self.replaced)


def _state_of(matrix: Tensor, trained: Tensor) -> tuple[int, ...]:
    return tuple(n for t in (matrix, trained) for n in (t.data_ptr(), 0 if t.is_inference() else t._version))


def put_in(standings: Sequence[Standing]) -> None:
    """Puts trained values into their weights: all that are slices in one operation, which on a GPU is one launch."""
    with torch.inference_mode(False), torch.no_grad():  # what is replaced may be needed in training
        parts = [(standing, part) for standing in standings if (part := standing.part) is not None]
        for standing, part in parts:
            standing.replaced = torch.empty_like(part, memory_format=torch.contiguous_format)
        if parts:
            torch._foreach_copy_([standing.replaced for standing, _ in parts], [part for _, part in parts])
        for standing in standings:
            if standing.part is None:
                standing.replaced = selection.read(standing.matrix, standing.place, standing.mode)
        try:
            _write([(standing, standing.trained) for standing in standings])
        except BaseException:
            take_out(standings)
            raise


def take_out(standings: Sequence[Standing]) -> None:
    """Puts the frozen values back."""
    with torch.no_grad():
        _write([(standing, standing.replaced) for standing in standings])


def _write(values: Sequence[tuple[Standing, Tensor]]) -> None:
    parts = [(part, value) for standing, value in values if (part := standing.part) is not None]
    if parts:
        torch._foreach_copy_([part for part, _ in parts], [value for _, value in parts])
    for standing, value in values:
        if standing.part is None:
            selection.write(standing.matrix, standing.place, standing.mode, value)


class MergeableBase(Protocol):
    """A layer into whose weight adapters are merged, or in whose weight trained values stand."""

    own_changes: int
    """How often it has written into the weight, by the weight's version counter."""
    standing_values: Standing | None

    @property
    def merged(self) -> bool: ...

    def frozen(self) -> AbstractContextManager[None]:
        """The weight without any adapter, for as long as this lasts."""

    def put_back(self) -> None:
        """The frozen values into the weight, if trained ones stand there."""


@contextmanager
def standing(
    matrix: Tensor,
    trained: Tensor,
    place: Place,
    mode: str,
    base: MergeableBase | None = None,
    replaced: Tensor | None = None,
) -> Iterator[Tensor]:
    """Trained values in W (d_out, d_in) for a product, unless they stand there; gives the ones that they replace.

    So whoever looks at W between two passes sees the frozen one: a state dict, a copy, another adapter, a tied module.
    Autograd is not told, since W is as it was whenever it looks. replaced: what is known of W to be there.
    """
    with ONE_AT_A_TIME:
        if base is not None and (values := base.standing_values) is not None:
            if values.is_of(matrix, trained):
                yield values.replaced
                return
            base.put_back()
        if replaced is None:
            replaced = selection.read(matrix.data, place, mode)
        try:
            selection.write(matrix.data, place, mode, trained.detach())
            yield replaced
        finally:
            selection.write(matrix.data, place, mode, replaced)


PLAIN_TYPES = (nn.Parameter, Tensor)


def may_stand(base: Any) -> bool:
    """Whether trained values can be put into the weight of a layer for the moment of its product.

    The layer must compute x Wᵀ + b with a frozen W and nothing else: not so a subclass or a wrapper with a forward of
    its own, or a layer with hooks (accelerate's, a user's). The weight must be a plain tensor that no other process
    sees, and what runs be differentiated by a backward pass, if at all: not compiled, traced or transformed.
    """
    return (
        not is_transformed()
        and type(base).forward in (nn.Linear.forward, Conv1D.forward)
        and "forward" not in base.__dict__
        and not (base._forward_hooks or base._forward_pre_hooks or base._backward_hooks or base._backward_pre_hooks)
        and _is_plain(base.weight)
    )


def _is_plain(weight: Tensor) -> bool:
    return (
        type(weight) in PLAIN_TYPES
        and not (weight.requires_grad or weight.is_meta or weight.is_inference())
        and (weight.is_cuda or not weight.is_shared())
    )


def is_transformed() -> bool:
    """Whether what runs is compiled, traced, transformed or differentiated forwards."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch._C._functorch.maybe_current_level() is not None  # torch.func
        or torch.autograd.forward_ad._current_level >= 0
    )
