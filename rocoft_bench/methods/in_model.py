"""Methods written here that train a model's own parameters or modules put into it.

All that a run has changed is saved under its own name in one safetensors file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.methods.method import Method, S
from rocoft_bench.methods.saved import check_fits, read_tensors
from rocoft_bench.models import TASKS_WITH_HEAD

if TYPE_CHECKING:
    from torch import Tensor, nn

FILE_NAME = "trained.safetensors"


class InModelMethod(Method[S]):
    """Freezes the model, opens the task head, and `attach`es the method's own part."""

    provider = "rocoft-bench"

    @abstractmethod
    def attach(self, model: Any) -> None:
        """Make the method's part of a frozen model, whose head is open already, trainable."""

    def attach_to_load(self, model: Any) -> None:
        """`attach` for values that are read from a file at once: initial ones need not be computed."""
        self.attach(model)

    def apply(self, model: Any, task_kind: str, seed: int) -> nn.Module:
        _attach_to_frozen(model, task_kind, self.attach)
        return model

    def own_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """What is saved: trained parameters, and the saved buffers of the modules that the method put in."""
        from rocoft_bench.methods.modules.wrappers import Attached, modules_of

        tensors: dict[str, Tensor] = {name: p for name, p in model.named_parameters() if p.requires_grad}
        for name, module in modules_of(model, Attached).items():
            saved = module.state_dict(prefix=f"{name}.")
            own = (f"{name}.{buffer}" for buffer, _ in module.named_buffers(recurse=False))
            tensors |= {key: saved[key] for key in own if key in saved}
        return tensors

    def save(self, model: nn.Module, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        own = {name: tensor.detach().cpu().contiguous() for name, tensor in self.own_tensors(model).items()}
        save_file(own, folder / FILE_NAME, {"method": self.name})

    def load(self, model: nn.Module, folder: Path, task_kind: str) -> nn.Module:
        saved = read_tensors(folder / FILE_NAME)
        _attach_to_frozen(model, task_kind, self.attach_to_load)
        own = self.own_tensors(model)
        check_fits(folder / FILE_NAME, saved, own)
        for name, tensor in own.items():
            tensor.data.copy_(saved[name])
        return model

    def _merged(self, model: nn.Module) -> nn.Module:
        from rocoft_bench.methods.modules.wrappers import unwrap

        unwrap(model)
        return model


def _attach_to_frozen(model: Any, task_kind: str, attach: Callable[[Any], None]) -> None:
    """Freeze all but the task head, attach, and hold what is trained in float32."""
    from rocoft_bench.models.parameter_counts import head_parameter_names
    from rocoft_bench.models.precision import hold_trained_in_float32

    model.requires_grad_(False)
    if task_kind in TASKS_WITH_HEAD:
        for name in head_parameter_names(model):
            model.get_parameter(name).requires_grad_(True)
    attach(model)
    hold_trained_in_float32(model)
