"""SFT: W + Δ with a sparse Δ whose few non-zero entries move during training (Ansell et al. 2024).

K entries over all linear layers of the blocks, each matrix having its share by size, start at random places. Every S
steps the gradients of candidates are added up over γ steps, candidates being the entries with the largest |dL/dW| in
the first of them (with gradient accumulation: in its first batch). Then the entries with the smallest |Δ| are dropped
and as many candidates, those with the largest |summed gradient|, are grown from zero: all entries at the first
selection, p₀ (1 - t/T) of them later. AdamW's bias correction goes by the age of each entry, and a grown entry starts
with the averages of its candidate gradients, before clipping, at age γ. Weight decay acts on Δ. This is the variant
that the paper calls SFT-AG (accumulated gradients).

Trained parameters outside the head: K, the `budget`, or `density` of all parameters, head included. The paper's 0.90M
on RoBERTa-base is taken as a budget of 900,000; 0.25 % of all, 311,618, would give 903,748 together with the head.

A selection phase costs one more product of a layer's gradient and input per step, and no memory beyond 5 vectors of
K numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from rocoft_bench.config import Count, LargeCount, StrictModel, TrainingConfig
from rocoft_bench.errors import UserError
from rocoft_bench.methods.in_model import InModelMethod
from rocoft_bench.methods.method import MethodMemory
from rocoft_bench.models import LinearShape, ModelShapes

if TYPE_CHECKING:
    from torch import nn

    from rocoft_bench.engine.hooks import Hooks


class SFTSettings(StrictModel):
    budget: LargeCount | None = None
    """Trained entries; by default a share of the model's parameters."""
    density: Annotated[float, Field(gt=0, le=1)] = 0.0025
    """That share, where there is no budget."""
    reselection_steps: Count = 20
    """Steps from one exchange of entries to the next."""
    accumulation_steps: Count = 5
    """Steps over which the gradients of candidates are added up."""
    reselection_rate: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the entries that is exchanged, falling linearly to 0; the first exchange replaces all."""

    @model_validator(mode="after")
    def _rounds_do_not_overlap(self) -> SFTSettings:
        if self.accumulation_steps > self.reselection_steps:
            raise ValueError("accumulation_steps must not exceed reselection_steps")
        return self


class SFT(InModelMethod[SFTSettings]):
    name = "sft"
    label = "SFT"
    trains = "a few entries of the weight matrices, exchanged during training"
    mergeable = True
    reference = "Ansell et al. 2024, arXiv 2401.16405"
    Settings = SFTSettings
    # Chosen here: the paper trains LLMs only; its code states no decay.
    learning_rate, weight_decay = 3e-3, 0.0
    shares_examples = False  # the entries to grow are found in the gradients of one process' examples
    keeps_best = False
    presets = {"roberta-base": {"budget": 900_000}}  # noqa: RUF012 - a constant

    def check_training(self, training: TrainingConfig) -> None:
        super().check_training(training)
        if training.precision == "fp16":
            raise UserError('training.precision = "fp16": sft compares gradients, which fp16 scales; use bf16 or fp32')

    def attach(self, model: Any) -> None:
        from rocoft_bench.methods.modules.sparse_linear import SparseLinear, draw_entries
        from rocoft_bench.methods.modules.wrappers import modules_of

        self.attach_to_load(model)
        draw_entries(modules_of(model, SparseLinear).values())

    def attach_to_load(self, model: Any) -> None:
        from rocoft_bench.methods.modules.sparse_linear import SparseLinear
        from rocoft_bench.models.shape_reading import block_linears

        linears = block_linears(model)
        counts = self._entries(linears, sum(p.numel() for p in model.parameters()))
        for linear, count in zip(linears, counts, strict=True):
            model.set_submodule(linear.name, SparseLinear(model.get_submodule(linear.name), count))

    def _entries(self, linears: Sequence[LinearShape], parameters: int) -> list[int]:
        """Trained entries of each matrix, of a model with so many parameters."""
        s = self.settings
        sizes = [linear.d_in * linear.d_out for linear in linears]
        total = round(s.density * parameters) if s.budget is None else s.budget
        if total > sum(sizes):
            raise UserError(f"method: {total:,} trained entries, but the blocks' matrices have only {sum(sizes):,}")
        return proportional(total, sizes)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return sum(self._entries(shapes.linears, shapes.total + shapes.head))

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """The optimizer keeps the age of each entry too."""
        return replace(super().memory(shapes, itemsize), inputs=shapes.linears, optimizer_values=3)

    def hooks(self, model: nn.Module, training: TrainingConfig, total_steps: int) -> Hooks:
        from rocoft_bench.methods.modules.sparse_linear import Reselection, SparseLinear
        from rocoft_bench.methods.modules.wrappers import modules_of

        rounds = self.settings.model_dump(exclude={"budget", "density"})
        return Reselection(modules_of(model, SparseLinear), total_steps, **rounds)


def proportional(total: int, sizes: Sequence[int]) -> list[int]:
    """`total` split in proportion to the sizes: rounded down, and up where the remainders are largest."""
    whole = sum(sizes)
    counts = [total * size // whole for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -(total * sizes[i] % whole))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts
