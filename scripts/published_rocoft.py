"""RoCoFT as its published code trains it, which is not as the paper has it: a plug-in.

rocoft sweep configs/evidence_published.yaml --plugin scripts/published_rocoft.py

Every `nn.Linear` trains r rows or columns and its bias: those of the blocks, BERT's pooler, and the task head or a
language model's, whose other values stay as they are, in a task head as they were drawn. Normalisation layers are
frozen where they are `nn.LayerNorm`, and trained in full where they are of another class, such as LLaMA's RMSNorm.
Embeddings are frozen.

The published code puts each matrix together again in every forward pass and lets autograd make its whole gradient,
which costs more and trains the same values (a bench has it as a reference, in
`rocoft_bench/efficiency/reference_methods.py`); here rocoft_bench's tuner trains them.

Trained on LLaMA-7B, columns, r = 3: 4,079,616 in the blocks, 96,000 in lm_head and 266,240 in the norms; all in all
4,441,856.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods import METHODS, TASKS_WITH_HEAD
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.methods.method import MethodMemory
from rocoft_bench.methods.rocoft import RoCoFT, RoCoFTSettings
from rocoft_bench.methods.saved import check_fits, read_tensors
from rocoft_bench.models import ModelShapes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rocoft_bench.tuner import RoCoFTConfig

HEAD = "head.safetensors"
"""All of the task head before training: most of it is trained by nobody, and drawn anew with each model."""


class PublishedSettings(StrictModel):
    mode: Literal["row", "column"] = "row"
    """Train rows or columns."""
    rank: Count = 3
    """Rows or columns per matrix, the first ones."""


@METHODS.add
class PublishedTraining(AdapterMethod):
    name = "published-rocoft"
    trains = "r rows or columns and the bias of every linear layer, the head's too, and RMSNorms"
    provider = "rocoft-bench"
    mergeable = True
    reference = "Kowsher et al., RoCoFT, published code"
    Settings = PublishedSettings
    settings: PublishedSettings
    learning_rate, weight_decay = RoCoFT.learning_rate, RoCoFT.weight_decay
    not_architectures = {"gpt2": "the published code trains nn.Linear alone, and a gpt2 model's matrices are Conv1D"}  # noqa: RUF012
    known_warnings = (r"\S+: rank \d+ is above its",)  # of a head with few labels

    def __init__(self, settings: PublishedSettings) -> None:
        super().__init__(settings)
        self._rocoft = RoCoFT(RoCoFTSettings(mode=settings.mode, rank=settings.rank, train_bias=True))

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"Published {self._rocoft.label}"

    def peft_config(self, model: Any, seed: int) -> RoCoFTConfig:
        from torch import nn

        config = self._rocoft.peft_config(model, seed)
        config.target_modules = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        config.modules_to_save = list(trained_norms(model)) or None
        return config

    def open_head(self, config: Any, model: Any, task_kind: str) -> None:
        """As much of it as of the other layers; a task type would tell peft to train all of it."""
        if task_kind not in TASKS_WITH_HEAD:
            super().open_head(config, model, task_kind)

    def save(self, model: Any, folder: Path) -> None:
        from safetensors.torch import save_file

        super().save(model, folder)
        if head := untrained_head(model):
            save_file(head, folder / HEAD)

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        from rocoft_bench.models.parameter_counts import head_parameter_names

        if task_kind in TASKS_WITH_HEAD:
            saved = read_tensors(folder / HEAD)
            own = {name: model.get_parameter(name) for name in head_parameter_names(model)}
            check_fits(folder / HEAD, saved, own)
            for name, parameter in own.items():
                parameter.data.copy_(saved[name])
        return super().load(model, folder, task_kind)

    def copied_parameters(self, model: Any, task_kind: str) -> Iterator[nn.Parameter]:
        for norm in trained_norms(model).values():
            yield from norm.parameters()

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        norms = sum(size for size in shapes.norm_sizes if size != 2 * shapes.hidden_size)  # LayerNorm has two vectors
        return self._rocoft.adapter_parameters(_all_outside_head(shapes)) + norms

    def head_parameters(self, shapes: ModelShapes) -> int:
        return self._rocoft.adapter_parameters(replace(shapes, linears=shapes.head_linears))

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        return self._rocoft.memory(_all_outside_head(shapes), itemsize)


def trained_norms(model: nn.Module) -> dict[str, nn.Module]:
    """By name, the normalisation layers that the published code does not know, and so does not freeze."""
    from torch import nn

    from rocoft_bench.models.parameter_counts import is_norm

    norms = {name: module for name, module in model.named_modules() if is_norm(module)}
    return {name: norm for name, norm in norms.items() if not isinstance(norm, nn.LayerNorm)}


def untrained_head(model: Any) -> dict[str, Tensor]:
    """The frozen values of the task head, by the names that they have in the plain model; none of a language model."""
    from rocoft_bench.models.parameter_counts import head_parameter_names

    if model.active_peft_config.task_type is not None:
        return {}
    values = model.state_dict()
    frozen = [name for name in head_parameter_names(model) if not model.get_parameter(name).requires_grad]
    return {re.sub(r"^base_model\.model\.|\.base_layer(?=\.)", "", name): values[name] for name in frozen}


def _all_outside_head(shapes: ModelShapes) -> ModelShapes:
    """As if the blocks had all linear layers."""
    return replace(shapes, linears=shapes.linears + shapes.outer_linears)
