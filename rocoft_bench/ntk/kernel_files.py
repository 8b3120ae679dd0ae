"""The folder of one analysis: settings first, kernels as soon as they are whole, the record last."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rocoft_bench.errors import UserError
from rocoft_bench.ntk.kernel_settings import KernelSettings
from rocoft_bench.runs import KernelRecord, RunDirectory, read_record, replace_atomically, write_text
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

    def begin(self, settings: KernelSettings) -> None:
        """Make the folder; what an unfinished analysis has left stays."""
        self.work.mkdir(parents=True, exist_ok=True)
        write_text(self.config, yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False))

    def restart(self) -> None:
        """Remove everything that was computed here, the record first."""
        for file in (self.record, self.kernels, self.test_kernels, self.predictions):
            file.unlink(missing_ok=True)
        self.remove_work()

    def stored(self, identities: Mapping[str, str]) -> dict[str, Tensor]:
        """The kernels here that are what they are asked to be, by name."""
        return stored_kernels(self.kernels, identities)


def save_tensors(file: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str] | None = None) -> None:
    """Write tensors so that a reader finds all of them or none."""
    ready = {name: tensor.contiguous() for name, tensor in tensors.items()}
    replace_atomically(file, lambda partial: save_file(ready, partial, dict(header or {})))


def read_tensors(file: Path) -> dict[str, Tensor] | None:
    """What `save_tensors` wrote; None if there is no such file, or it is damaged."""
    try:
        require_file(file)
        with safe_open(file, "pt") as stream:
            return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - it is no dictionary
    except (OSError, SafetensorError, UserError):
        return None


def stored_kernels(file: Path, identities: Mapping[str, str]) -> dict[str, Tensor]:
    """The kernels of a file whose identities are the given ones, by name."""
    try:
        require_file(file)
        with safe_open(file, "pt") as stream:
            found = json.loads((stream.metadata() or {}).get(IDENTITIES, "{}"))
            wanted = [name for name, identity in identities.items() if found.get(name) == identity]
            return {name: stream.get_tensor(name) for name in wanted}
    except (OSError, SafetensorError, ValueError, UserError):
        return {}


def identity(**facts: Any) -> str:
    """Equal for equal facts."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def save_kernels(file: Path, kernels: Mapping[str, Tensor], identities: Mapping[str, str]) -> None:
    save_tensors(file, kernels, {IDENTITIES: json.dumps(dict(identities), sort_keys=True)})
