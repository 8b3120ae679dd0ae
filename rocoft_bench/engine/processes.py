"""The processes that share one run, and everything that they say to each other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from accelerate import PartialState


class Processes:
    """The processes of a run, this one among them. With one process, nothing is sent anywhere.

    All of them must call the same methods in the same order. What is sent are values of the host, over a group of its
    own, so that no GPU has to be waited for.
    """

    def __init__(self, group: dist.ProcessGroup | None = None) -> None:
        self._group = group
        self.count = 1 if group is None else group.size()
        self.index = 0 if group is None else group.rank()

    @classmethod
    def joined(cls) -> Processes:
        """The processes that a launcher has started with this one, by its environment variables."""
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(dist.new_group(backend="gloo") if state.num_processes > 1 else None)

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.index == 0

    def sum(self, number: float) -> float:
        """The sum of all processes' numbers, in double precision."""
        if self._group is None:
            return number
        total = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(total, group=self._group)
        return total.item()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Of each flag, whether it is true in some process."""
        if self._group is None:
            return flags
        counts = torch.tensor(flags, dtype=torch.int64)
        dist.all_reduce(counts, group=self._group)
        return tuple((counts > 0).tolist())

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes in their order, on the main one; nothing elsewhere."""
        if self._group is None:
            return [value]
        values = [None] * self.count if self.is_main else None
        dist.gather_object(value, values, dst=0, group=self._group)
        return values or []

    def from_main(self, value: Any) -> Any:
        """The main process' value, everywhere."""
        if self._group is None:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self._group is not None:
            dist.barrier(group=self._group)
