"""What a step computes, keeps and launches, counted exactly: on a busy machine as on an idle one; and what it takes of
a GPU's memory, as torch's allocator counts it.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class StepCounts:
    """Of a forward and backward pass. saved_bytes: of what the one keeps for the other, beside the model."""

    flops: int
    saved_bytes: int
    operations: int


class OperationCounter(TorchDispatchMode):
    """Counts operations that compute or copy; views and empty tensors cost nothing."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or any(part in func.name() for part in ("view", "empty", "detach")))
        return func(*args, **(kwargs or {}))


def _sampled_product(pattern: Tensor, g: Tensor, *args: Any, out_val: Any = None, **kwargs: Any) -> int:
    """Of the entries of a product that are computed, g (d_out, N)."""
    return 2 * pattern.values().numel() * g.shape[1]


_sampled_product._get_raw = True  # type: ignore[attr-defined] # which has it called with tensors, not with shapes
FORMULAS = {torch.ops.aten.sparse_sampled_addmm: _sampled_product}
"""Of products that torch counts no FLOPs of."""


def count_step(model: nn.Module, passes: Callable[[], None]) -> StepCounts:
    """Of the forward and backward passes of a step."""
    own = _sizes([*model.parameters(), *model.buffers()])
    kept: list[Tensor] = []  # alive until the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    operations = OperationCounter()  # inside of the other mode, which takes some operations apart
    with (
        saved_tensors_hooks(pack, lambda tensor: tensor),
        FlopCounterMode(display=False, custom_mapping=FORMULAS) as flops,
        operations,
    ):
        passes()
    saved = sum(size for address, size in _sizes(kept).items() if address not in own)
    return StepCounts(flops.get_total_flops(), saved, operations.count)


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of the distinct storages of some tensors."""
    return sum(_sizes(tensors).values())


def _sizes(tensors: Iterable[Tensor]) -> dict[int, int]:
    """Bytes of the storages of tensors, by address."""
    parts = [part for t in tensors for part in ((t._indices(), t._values()) if t.layout == torch.sparse_coo else (t,))]
    storages = [part.untyped_storage() for part in parts]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


class GpuMemory:
    """Bytes at the peak of each step beyond what was there before it. On a CPU nothing is counted.

    allocator: has the functions of torch.cuda.
    """

    def __init__(self, device: torch.device, allocator: Any = torch.cuda) -> None:
        self.device, self.allocator = device, allocator
        self.allocated: list[int] = []
        self.reserved: list[int] = []

    @property
    def is_counted(self) -> bool:
        return self.device.type == "cuda"

    def give_back(self) -> None:
        """What nobody uses, so that what the next step reserves is its own."""
        self.allocator.empty_cache()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For as long as a step takes."""
        if not self.is_counted:
            yield
            return
        of, device = self.allocator, self.device
        of.reset_peak_memory_stats(device)
        before = of.memory_allocated(device), of.memory_reserved(device)
        yield
        self.allocated.append(of.max_memory_allocated(device) - before[0])
        self.reserved.append(of.max_memory_reserved(device) - before[1])

    def over_steps(self, held: int) -> dict[str, float]:
        """MiB over all steps, with the bytes that are held between them; of a first step's reserved ones."""
        if not self.allocated:
            return {}
        found: dict[str, Any] = {
            "mean_memory_mib": np.mean(self.allocated),
            "memory_mib_99": np.percentile(self.allocated, 99),
            "reserved_memory_mib": self.reserved[0],
        }
        return {key: float(held + value) / 2**20 for key, value in found.items()}
