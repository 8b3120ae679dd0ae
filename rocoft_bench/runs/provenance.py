"""Where a result comes from: versions, commit, hardware, command."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError
from rocoft_bench.untrusted import read_json

PACKAGES = (
    *("rocoft-bench", "torch", "transformers", "peft", "accelerate", "datasets", "evaluate", "tokenizers"),
    *("safetensors", "numpy", "scipy", "scikit-learn"),
)
ACCESS_TOKEN = re.compile(r"hf_[A-Za-z0-9]{16,}")


def provenance(plugins: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Everything about the machine and the code that a reader needs to repeat the run. plugins: as `plugins.used`."""
    return {
        "command": [Path(sys.argv[0]).name, *(ACCESS_TOKEN.sub("[redacted]", word) for word in sys.argv[1:])],
        "packages": {name: _version(name) for name in PACKAGES},
        "plugins": list(plugins),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _git_state(),
        "hardware": _hardware(),
    }


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """What a run or an analysis noted of it in its folder; None if that is missing or damaged."""
    with suppress(UserError):
        value = read_json(folder / "provenance.json")
        return value if isinstance(value, dict) else None
    return None


@cache
def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that the code runs from, and whether it was changed; None for an installed package."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(changed) if changed is not None else None}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _hardware() -> dict[str, Any]:
    import psutil
    import torch

    return {
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "memory_mib": round(psutil.virtual_memory().total / 2**20),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cuda": torch.version.cuda,
    }


def _cpu_name() -> str:
    with suppress(OSError):
        lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        return next((name.strip() for key, _, name in lines if key.startswith("model name")), platform.machine())
    return platform.processor()
