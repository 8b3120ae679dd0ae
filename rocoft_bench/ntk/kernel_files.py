"""The folder of one analysis: settings first, kernels as soon as they are whole, the record last."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rocoft_bench.errors import UserError
from rocoft_bench.runs import KernelRecord, RunDirectory, read_record, replace_atomically
from rocoft_bench.untrusted import require_file

IDENTITIES = "identities"
"""In the header of kernels.safetensors: for each kernel what it is of; equal kernels have equal ones."""


class KernelDirectory(RunDirectory):
    """Paths of one analysis. A record with status ok means that everything is there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.record = path / "kernels.json"
        self.kernels = path / "kernels.safetensors"
        self.test_kernels = path / "test_kernels.safetensors"

    def is_done(self) -> bool:
        return self.record.is_file() and read_record(self.record, KernelRecord).status == "ok"

    def restart(self) -> None:
        """Remove everything that was computed here, the record first."""
        for file in (self.record, self.kernels, self.test_kernels, self.predictions):
            file.unlink(missing_ok=True)
        self.remove_work()


def save_tensors(file: Path, tensors: Mapping[str, Tensor], identities: Mapping[str, str] | None = None) -> None:
    """Write tensors so that a reader finds all of them or none."""
    ready = {name: tensor.contiguous() for name, tensor in tensors.items()}
    header = {IDENTITIES: json.dumps(identities, sort_keys=True)} if identities else {}
    replace_atomically(file, lambda partial: save_file(ready, partial, header))


def read_tensors(file: Path, identities: Mapping[str, str] | None = None) -> dict[str, Tensor] | None:
    """What `save_tensors` wrote, or only what has the given identities; None if there is no such file, or it is
    damaged.
    """
    try:
        require_file(file)
        with safe_open(file, "pt") as stream:
            names = stream.keys()
            if identities is not None:
                found = json.loads((stream.metadata() or {}).get(IDENTITIES, "{}"))
                names = [name for name, identity in identities.items() if found.get(name) == identity]
            return {name: stream.get_tensor(name) for name in names}
    except (OSError, SafetensorError, ValueError, UserError):
        return None


def identity(**facts: Any) -> str:
    """Equal for equal facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]
