"""RoCoFT: train a few rows, columns or entries of each weight matrix in place (the paper, Eq. 2 and Appendix B.2).

Trained parameters outside the head, over the block's linear layers of shape (d_out, d_in):
rows r * sum(d_in), columns r * sum(d_out), both together r * sum(d_in + d_out - r), entries sum(round(p * d_out *
d_in)), plus sum(d_out) for biases.
RoBERTa-base: 82,944 per row or column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from rocoft_bench.config import Count, CountFromZero, StrictModel, TrainingConfig
from rocoft_bench.errors import UserError, shortened
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.methods.method import MethodMemory
from rocoft_bench.models import LinearShape, ModelShapes, peft_pattern

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rocoft_bench.engine.hooks import Hooks
    from rocoft_bench.tuner import RoCoFTConfig


def by_first_name(mode: Any) -> Any:
    """The one that records have."""
    return "random" if mode == "entries" else mode


class RoCoFTSettings(StrictModel):
    mode: Annotated[Literal["row", "column", "random", "row_column"], BeforeValidator(by_first_name)] = "row"
    """Train rows, columns, single entries (`entries`, or by its first name `random`), or rows and columns together."""
    rank: Count = 3
    """Rows or columns per matrix."""
    selection: Literal["first", "random", "max", "min", "mixed"] = "first"
    """How rows or columns are chosen; max, min and mixed by Wanda score."""
    probability: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of entries trained in mode random."""
    reselect_every: Count | None = None
    """Choose rows and columns anew after every so many steps."""
    reselect_by: Literal["gradient", "wanda", "random"] = "gradient"
    """What `reselect_every` goes by: largest gradients or Wanda scores in the last step, or new draws."""
    reselect_keeps: bool = False
    """Those that `reselect_every` leaves stay as trained, frozen; else they go back to their pretrained values."""
    reselect_warmup: CountFromZero = 0
    """The learning rate rises again over so many steps after each choice anew, of what stays and of the head too."""
    train_bias: bool = False
    """Train the biases of the targeted layers too."""
    target_modules: list[str] | str | None = None
    """Roles, module names or a regular expression; by default all linear layers of the blocks."""

    @model_validator(mode="after")
    def _reselection_needs_steps(self) -> RoCoFTSettings:
        for key in RESELECTION if self.reselect_every is None else ():
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                raise ValueError(f"{key} {value} has no effect without reselect_every: set that too")
        return self


RESELECTION = ("reselect_every", "reselect_by", "reselect_keeps", "reselect_warmup")
"""Settings of the training loop, which are none of an adapter's."""
WITHOUT_EFFECT = {
    **dict.fromkeys(("row", "column", "row_column"), ("probability",)),
    "random": ("rank", "selection", *RESELECTION),
}
"""By mode, the settings that say nothing to it."""
LABELS = {"row": "Row", "column": "Column", "row_column": "Row-Column"}


class RoCoFT(AdapterMethod[RoCoFTSettings]):
    name = "rocoft"
    trains = "r rows or columns (or random entries) of each weight matrix"
    provider = "rocoft-bench"
    mergeable = True
    quantised_bases = True
    reference = "Kowsher et al., RoCoFT"
    Settings = RoCoFTSettings
    # Table 10 states both for each task; these are for a config that states none.
    learning_rate, weight_decay = 1e-3, 0.0

    def __init__(self, settings: RoCoFTSettings) -> None:
        super().__init__(settings)
        self._reselect_every = None if settings.mode == "random" else settings.reselect_every
        self.keeps_best = self._reselect_every is None
        self.shares_examples = self.keeps_best  # as the choice goes by what one process sees of its examples

    def hooks(self, model: nn.Module, training: TrainingConfig, total_steps: int) -> Hooks:
        if self._reselect_every is None:
            return super().hooks(model, training, total_steps)
        from rocoft_bench.methods.modules.adapter_hooks import DynamicSelection
        from rocoft_bench.tuner.dynamic import LineScores

        s = self.settings
        scores = LineScores(model, by=s.reselect_by, keeps=s.reselect_keeps)
        return DynamicSelection(scores, self._reselect_every, total_steps, s.reselect_warmup)

    @property
    def label(self) -> str:  # type: ignore[override]
        s = self.settings
        return f"RoCoFT-random-p{s.probability:g}" if s.mode == "random" else f"RoCoFT-{s.rank}-{LABELS[s.mode]}"

    @property
    def ignored_settings(self) -> frozenset[str]:  # type: ignore[override]
        return frozenset(WITHOUT_EFFECT[self.settings.mode])

    def check_effect(self, sources: Mapping[str, str]) -> None:
        """Those that the command asks for; a file may have been written for another mode."""
        mode = self.settings.mode
        for key in self.ignored_settings:
            source = sources.get(f"method.{key}", "")
            if source.startswith("--"):
                raise UserError(f"{shortened(source)}: method.{key} has no effect in mode {mode}; leave it out")

    def notes(self, sources: Mapping[str, str]) -> tuple[str, ...]:
        """Tells of what a file states beside the mode that has no use for it."""
        mode, file = self.settings.mode, sources.get("method.mode", "default")
        defaults = RoCoFTSettings()
        return tuple(
            f"method.{key} = {getattr(self.settings, key)} has no effect in mode {mode}"
            for key in WITHOUT_EFFECT[mode]
            if sources.get(f"method.{key}") == file and getattr(self.settings, key) != getattr(defaults, key)
        )

    def peft_config(self, model: Any, seed: int) -> RoCoFTConfig:
        from rocoft_bench.tuner import RoCoFTConfig

        values = self.settings.model_dump(exclude={*self.ignored_settings, *RESELECTION})
        if values["target_modules"] is not None:
            values["target_modules"] = peft_pattern(values["target_modules"], model)
        return RoCoFTConfig(seed=seed, **values)

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        targets = shapes.targeted(self.settings.target_modules)
        biases = sum(linear.d_out for linear in targets if linear.has_bias) if self.settings.train_bias else 0
        return sum(map(self._weights, targets)) + biases

    def _weights(self, linear: LinearShape) -> int:
        s = self.settings
        if s.mode == "row":
            return min(s.rank, linear.d_out) * linear.d_in
        if s.mode == "column":
            return min(s.rank, linear.d_in) * linear.d_out
        if s.mode == "row_column":
            return linear.d_out * linear.d_in - max(linear.d_out - s.rank, 0) * max(linear.d_in - s.rank, 0)
        return max(1, round(s.probability * linear.d_in * linear.d_out))

    def stored_parameters(self, model: nn.Module, trained: int) -> int:
        """With the values of rows and columns that are trained no more but stay as they were."""
        from rocoft_bench.methods.modules.wrappers import modules_of
        from rocoft_bench.tuner.entries import TrainedEntries

        each = [module.kept_values for module in modules_of(model, TrainedEntries).values()]
        return trained + sum(values.numel() for values in each if values is not None)

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """Single entries, and rows with columns, have their places beside them, an int32 each. Of columns, only their
        inputs are kept; else the inputs are made again (`tuner.recompute`), but for what attention returns where all of
        it is needed. The frozen values of rows and columns are kept until the trained ones stand in their place again.
        What `reselect_keeps` adds is left out: it depends on the steps.
        """
        memory, targets = super().memory(shapes, itemsize), shapes.targeted(self.settings.target_modules)
        columns, entries = self.settings.mode == "column", self.settings.mode in ("random", "row_column")
        kept = shapes.targeted(["attention_output"]) if entries else []
        return replace(
            memory,
            base_bytes=memory.base_bytes + 4 * entries * self.adapter_parameters(shapes),
            inputs=[linear for linear in targets if linear in kept],
            inputs_made_again=[linear for linear in targets if not columns and linear not in kept],
            extra_saved_per_token=[(linear, min(self.settings.rank, linear.d_in)) for linear in targets if columns],
            saved_per_pass=0 if entries else sum(map(self._weights, targets)),
            fuses_matmul=True,
        )

    def calibrate(self, model: Any, batches: Iterable[Mapping[str, Tensor]]) -> bool:
        from rocoft_bench.tuner import calibrate, needs_calibration

        if not needs_calibration(model):
            return False
        calibrate(model, batches)
        return True

    def _merged(self, model: Any) -> nn.Module:
        from rocoft_bench.tuner import dequantize

        dequantize(model)  # a quantised base, into which nothing is merged without rounding
        return super()._merged(model)

    def check_is_lora(self) -> None:
        if self.settings.mode == "random":
            raise UserError("--format lora: single entries (mode random) have no low rank; use --format merged")

    def save_as_lora(self, model: nn.Module, folder: Path) -> None:
        from rocoft_bench.tuner import save_as_lora

        save_as_lora(model, folder, save_embedding_layers=False)
