"""What training steps take of a GPU's memory, as torch's allocator counts it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


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
