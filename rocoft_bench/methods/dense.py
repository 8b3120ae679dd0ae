"""Methods that train parameters of the model as they are: full fine-tuning, and the task head alone."""

from dataclasses import replace
from typing import Any

from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.method import MethodMemory, NoSettings
from rocoft_bench.models import TASKS_WITH_HEAD, ModelShapes


class Full(InModelMethod):
    name = "full"
    label = "FT"
    trains = "all parameters"
    mergeable = True
    reference = "-"
    Settings = NoSettings
    # RoBERTa's fine-tuning (Liu et al. 2019, Table 10): 1e-5, 2e-5 or 3e-5 and 0.1.
    learning_rate, weight_decay = 3e-5, 0.1
    skips_parameters = True
    adds_values = False

    def attach(self, model: Any) -> None:
        model.requires_grad_(True)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return shapes.total

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        return replace(super().memory(shapes, itemsize), inputs=shapes.linears)


class HeadOnly(InModelMethod):
    name = "head-only"
    label = "Head only"
    trains = "the task head on a frozen encoder"
    mergeable = True
    reference = "-"
    Settings = NoSettings
    supported_tasks = TASKS_WITH_HEAD
    # No paper's; a linear model on features that stay as they are.
    learning_rate, weight_decay = 5e-3, 0.0

    def attach(self, model: Any) -> None:
        pass

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return 0
