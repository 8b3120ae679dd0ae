"""Methods that train existing parameters as they are: full fine-tuning, and the task head alone.

Trained values are saved under their own names in one safetensors file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.config import Section
from rocoft_bench.methods.base import Method

if TYPE_CHECKING:
    from torch import nn

    from rocoft_bench.models import LinearShape

FILE_NAME = "trained.safetensors"


class NoSettings(Section):
    """No settings."""


class DenseMethod(Method):
    provider = "here"
    mergeable = True
    Settings = NoSettings

    def save(self, model: nn.Module, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        trained = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}
        save_file(trained, folder / FILE_NAME)

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        from safetensors.torch import load_file

        _, unexpected = model.load_state_dict(load_file(folder / FILE_NAME), strict=False)
        if unexpected:
            raise ValueError(f"{folder / FILE_NAME} holds parameters that the model does not have: {unexpected[:3]}")
        return model

    def merge(self, model: nn.Module) -> nn.Module:
        return model


class Full(DenseMethod):
    name = "full"
    trains = "all parameters"
    reference = "-"
    label = "FT"

    def apply(self, model: nn.Module, task_kind: str, seed: int) -> nn.Module:
        return model.requires_grad_(True)

    def adapter_parameters(self, linears: list[LinearShape]) -> None:
        return None


class HeadOnly(DenseMethod):
    name = "head-only"
    trains = "the task head on a frozen encoder"
    reference = "-"
    needs_head = True
    label = "Head only"

    def apply(self, model: Any, task_kind: str, seed: int) -> nn.Module:
        model.requires_grad_(True)
        model.base_model.requires_grad_(False)
        return model

    def adapter_parameters(self, linears: list[LinearShape]) -> int:
        return 0
