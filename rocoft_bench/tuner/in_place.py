"""Trained values in the weight itself, for the moment of a product: the layer computes that and nothing else."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner import selection
from rocoft_bench.tuner.selection import Place

ONE_AT_A_TIME = threading.RLock()
"""Threads that share a model must not see each other's values in it."""


@contextmanager
def standing(matrix: Tensor, trained: Tensor, place: Place, mode: str) -> Iterator[None]:
    """Puts trained values into W (d_out, d_in), and afterwards the ones back that they replaced.

    So whoever looks at W at any other time sees the frozen one: a state dict, a copy, another adapter, a tied module.
    Autograd is not told, since W is as it was whenever it looks.
    """
    with ONE_AT_A_TIME:
        replaced = selection.read(matrix.data, place, mode)
        try:
            selection.write(matrix.data, place, mode, trained.detach())
            yield
        finally:
            selection.write(matrix.data, place, mode, replaced)


def may_stand(base: Any) -> bool:
    """Whether trained values can be put into the weight of a layer for the moment of its product.

    The layer must compute x Wᵀ + b with a frozen W and nothing else: not so a subclass or a wrapper with a forward of
    its own, or a layer with hooks (accelerate's, a user's). The weight must be a plain tensor that no other process
    sees, and what runs be differentiated by a backward pass, if at all: not compiled, traced or transformed.
    """
    return (
        not _is_transformed()
        and type(base).forward in (nn.Linear.forward, Conv1D.forward)
        and "forward" not in base.__dict__
        and not (base._forward_hooks or base._forward_pre_hooks or base._backward_hooks or base._backward_pre_hooks)
        and _is_plain(base.weight)
    )


def _is_plain(weight: Tensor) -> bool:
    return (
        type(weight) in (nn.Parameter, Tensor)
        and not (weight.requires_grad or weight.is_meta or weight.is_inference())
        and (weight.is_cuda or not weight.is_shared())
    )


def _is_transformed() -> bool:
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch._C._functorch.maybe_current_level() is not None  # torch.func
        or torch.autograd.forward_ad._current_level >= 0
    )
