"""Diff pruning: θ = θ₀ + z ⊙ w over every parameter outside the task head (Guo, Rush and Kim 2021).

z is a random gate of the hard-concrete distribution: with u uniform in (0, 1),
z = clamp((r - l) σ(log u - log(1 - u) + α) + l, 0, 1), l = -1.5, r = 1.5; in the structured form, which is the one
here, it is multiplied by a second gate that all entries of a tensor share. w starts at 0 and each α at 5.

One training has two stages. The first learns w and α with λ E[L0] added to the loss, E[L0] = Σ P(both gates are open)
(the authors' code adds up the two probabilities instead). Then exactly `sparsity` of all entries are kept, those with
the largest |θ - θ₀| in the model, and the second stage trains them on without gates, from the values that they have,
with a fresh optimizer and learning-rate schedule. The task head is trained in both.

Trained parameters outside the head: w and α of all P parameters and one α per tensor, 2 P + tensors. What is left, and
reported as the method's count, is round(sparsity · P): 1,240,550 of RoBERTa-base's 124,055,040, the paper's 1.24M.

Memory: w, α, the noise, two gradients and four moments of Adam, all dense float32: 36 bytes per parameter beside the
model and what autograd keeps of the gates, about 4.5 GB for RoBERTa-base.

λ does not depend on the number of parameters, since each α has its own gradient λ P' beside that of the task, and Adam
looks at their ratio only. It depends on time: an α falls by at most its learning rate per step, so that gates close
only after (5 - 0) / 0.1 = 50 steps at full rate. Shorter trainings are pruned by magnitude alone.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, NonNegativeFloat, PositiveFloat

from rocoft_bench.config import StrictModel, TrainingConfig
from rocoft_bench.methods.in_model import FILE_NAME, InModelMethod
from rocoft_bench.methods.method import MethodMemory
from rocoft_bench.methods.saved import check_fits, read_tensors
from rocoft_bench.models import TASKS_WITH_HEAD, ModelShapes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rocoft_bench.engine.hooks import Hooks


class DiffPruningSettings(StrictModel):
    sparsity: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of the parameters outside the head that differ in the end."""
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the steps that learn which ones; the rest train them alone."""
    l0_penalty: NonNegativeFloat = 1.25e-7
    """λ, weight of the expected number of parameters that differ."""
    gate_learning_rate: PositiveFloat = 0.1
    """Peak learning rate of the gates' parameters."""
    fixed_mask_rate: PositiveFloat = 5.0
    """Peak learning rate after pruning as a multiple of training.learning_rate (the authors' 5e-5 against 1e-5)."""

    def kept(self, parameters: int) -> int:
        """How many of so many parameters differ in the end."""
        return round(self.sparsity * parameters)


class DiffPruning(InModelMethod[DiffPruningSettings]):
    name = "diff-pruning"
    label = "Diff Pruning"
    trains = "a sparse change of all parameters, through gates that are learned and then fixed"
    mergeable = True
    reference = "Guo et al. 2021, arXiv 2012.07463"
    Settings = DiffPruningSettings
    # The authors' GLUE script; no decay is its code's default.
    learning_rate, weight_decay = 1e-5, 0.0
    keeps_best = False
    shards = False
    skips_parameters = True

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.gated_change import gate_frozen

        gate_frozen(model)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return 2 * shapes.total + shapes.tensors

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """Of each entry the noise, the steps from it to the gate, and the change are kept."""
        return replace(super().memory(shapes, itemsize), inputs=shapes.linears, saved_per_pass=5 * shapes.total)

    def reported_parameters(self, shapes: ModelShapes) -> int:
        return self.settings.kept(shapes.total)

    def stored_parameters(self, model: nn.Module, trained: int) -> int:
        from rocoft_bench.methods.modules.gated_change import gated_changes

        return self.settings.kept(sum(change.change.numel() for change in gated_changes(model).values()))

    def hooks(self, model: nn.Module, training: TrainingConfig, total_steps: int) -> Hooks:
        from rocoft_bench.methods.modules.gated_change import Stages, gated_changes

        return Stages(gated_changes(model), total_steps, **self.settings.model_dump())

    def own_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """The trained head, and of each other parameter the flat places and values of its entries that differ."""
        from rocoft_bench.methods.modules.gated_change import gated_changes

        tensors: dict[str, Tensor] = {
            name: p for name, p in model.named_parameters() if p.requires_grad and ".parametrizations." not in name
        }
        for name, change in gated_changes(model).items():
            tensors |= {f"{name}.{part}": value for part, value in change.sparse().items()}
        return tensors

    def load(self, model: nn.Module, folder: Path, task_kind: str) -> nn.Module:
        """The plain model with the changes in place."""
        from rocoft_bench.methods.modules.gated_change import add_entries
        from rocoft_bench.models.parameter_counts import head_parameter_names
        from rocoft_bench.models.precision import hold_in_float32

        head = head_parameter_names(model) if task_kind in TASKS_WITH_HEAD else set()
        changed = [name for name, _ in model.named_parameters() if name not in head]
        saved = read_tensors(folder / FILE_NAME)
        own: dict[str, Any] = {name: model.get_parameter(name) for name in head}
        for name in changed:  # as many values as places
            own |= dict.fromkeys((f"{name}.indices", f"{name}.values"), saved.get(f"{name}.indices"))
        check_fits(folder / FILE_NAME, saved, own)
        hold_in_float32(model, map(model.get_parameter, head))
        for name in head:
            model.get_parameter(name).data.copy_(saved[name])
        for name in changed:
            add_entries(model.get_parameter(name).data, saved[f"{name}.indices"], saved[f"{name}.values"])
        return model

    def _merged(self, model: nn.Module) -> nn.Module:
        from rocoft_bench.methods.modules.gated_change import add_entries, gated_changes, ungate

        changes = gated_changes(model)
        ungate(model)
        for name, change in changes.items():
            add_entries(model.get_parameter(name).data, **change.sparse())
        return model
