"""How many examples go through at a time, so that memory stays under a bound that is known before anything starts.

Measured on the longest example there is: what its gradients are made of, and what autograd keeps for its backward pass.
Everything else follows from sizes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rocoft_bench.engine.accelerator import MIB
from rocoft_bench.errors import UserError
from rocoft_bench.ntk.kernel_settings import KernelSettings
from rocoft_bench.ntk.kernels import SCRATCH, Capturer, Example

SCRATCH_BUFFERS = 3
"""Pieces of features that live at the same time: of either side, and what they are made from."""
PROCESS_MIB = 620.0
"""Python and the libraries, resident, as for a run."""


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes, and what they allow. captured, saved: of one example. block: examples whose gradients are kept at a time
    while kernels are made (two such blocks are); batch: of one forward pass.
    """

    model: int
    captured: int
    saved: int
    scratch: int
    block: int
    batch: int
    bound: float

    def __str__(self) -> str:
        bytes_at_most = self.model + 2 * self.block * self.captured + self.batch * self.saved + self.scratch
        gib = (PROCESS_MIB + bytes_at_most / MIB) / 1024
        return (
            f"memory: about {gib:.1f} GiB of at most {self.bound:g} (model {self.model / MIB:.0f} MiB, "
            f"blocks of {self.block} examples with {self.captured / MIB:.1f} MiB each, batches of {self.batch})"
        )


def make_budget(capturer: Capturer, examples: Sequence[Example], most: int, settings: KernelSettings) -> MemoryBudget:
    """How to stay under the settings' bound with these examples. most: as many of them as a kernel is of.

    Raises: UserError if two examples do not fit under it.
    """
    captured, saved = _measured(capturer, max(examples, key=lambda example: len(example.input_ids)))
    weight = next(capturer.model.parameters())
    model = sum(parameter.nbytes for parameter in capturer.model.parameters())
    scratch_bytes = SCRATCH_BUFFERS * SCRATCH * weight.element_size()
    bound = settings.memory_gib * 1024 * MIB
    room = bound - PROCESS_MIB * MIB - model - scratch_bytes
    batch = 1 if capturer.one_by_one else min(settings.batch_size, max(1, int(room // 2 // saved)))
    block = min(most, int((room - batch * saved) // (2 * captured)))
    if block < 1:
        least = (bound - room + saved + 2 * captured) / MIB / 1024
        given = f"--memory-gib {settings.memory_gib:g}"
        raise UserError(f"{given}: too little for one example at a time; {least:.1f} GiB is needed")
    return MemoryBudget(model, captured, saved, scratch_bytes, block, min(batch, block), settings.memory_gib)


def _measured(capturer: Capturer, example: Example) -> tuple[int, int]:
    """Bytes of what is captured of an example, and of what autograd keeps meanwhile."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.layout == torch.strided:  # a sparse one has no storage, and is small
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in capturer.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        block = capturer.capture([example], 1)
    captured = sum(tensor.nbytes for each in block.parameters.values() for tensor in vars(each).values())
    return captured, max(1, sum(size for place, size in kept.items() if place not in weights))
