"""LoRA on a base of 4-bit weights: QLoRA and LoftQ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rocoft_bench.config import Count
from rocoft_bench.methods.lora import Dropout, LoRA, LowRankSettings, Rank
from rocoft_bench.methods.method import MethodMemory, Targets
from rocoft_bench.models import ROLES, ModelShapes
from rocoft_bench.models.quantised import WEIGHT_BYTES, check_bitsandbytes, nf4_options

if TYPE_CHECKING:
    from torch import nn

ALL_LINEARS = list(ROLES)
"""All linear layers of the transformer blocks."""


class QuantisedLoRA(LoRA):
    """LoRA on quantised base weights."""

    def check_supports(self, task_kind: str, model_type: str | None) -> None:
        super().check_supports(task_kind, model_type)
        check_bitsandbytes(f"method {self.name}")


class QLoRASettings(LowRankSettings):
    rank: Rank = 64
    dropout: Dropout = 0.1
    target_modules: Targets = ALL_LINEARS
    compute_dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """Number format of the products with dequantised weights."""


class QLoRA(QuantisedLoRA):
    """A base that is kept in 4-bit NF4 with doubly quantised constants (Dettmers et al. 2023), by peft.

    Trained parameters outside the head: LoRA's r * (d_in + d_out) per targeted matrix, here all linear layers of the
    blocks; no table of the paper counts QLoRA. The defaults, r = 64 and alpha = 16, make 159,907,840 on LLaMA-2-7B.

    The change cannot be merged: the sum of a 4-bit weight and the change is no 4-bit weight, and a dequantised base
    would compute in another precision than the trained model.
    """

    name = "qlora"
    label = "QLoRA"
    trains = "a rank-r product beside each targeted matrix of a 4-bit base"
    mergeable = False
    reference = "Dettmers et al. 2023, arXiv 2305.14314"
    Settings = QLoRASettings
    settings: QLoRASettings
    # The paper's for models of 7B and 13B, and its code's decay.
    learning_rate, weight_decay = 2e-4, 0.0
    presets = {}  # noqa: RUF012 - a constant

    @property
    def loading_options(self) -> dict[str, Any]:  # type: ignore[override]
        return nf4_options(self.settings.compute_dtype)

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """4 bits a weight and its share of the constants in the blocks; peft has the rest in float32."""
        packed = sum(linear.d_in * linear.d_out for linear in shapes.linears)
        base_bytes = packed * WEIGHT_BYTES["nf4"] + 4 * (shapes.total + shapes.head - packed)
        return replace(super().memory(shapes, itemsize), base_bytes=base_bytes)

    def apply(self, model: Any, task_kind: str, seed: int) -> nn.Module:
        return super().apply(_prepared(model), task_kind, seed)

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        return super().load(_prepared(model), folder, task_kind)


def _prepared(model: Any) -> Any:
    """In float32 but for the 4-bit weights; gradient checkpointing is the settings' business, not peft's."""
    from peft import prepare_model_for_kbit_training

    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):  # bitsandbytes 0.50 would repack weights on a CPU that has
            module.support_avx512bf16_for_cpu = False  # it for the first evaluation, and not train them after that
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)


class LoftQSettings(LowRankSettings):
    rank: Rank = 16
    target_modules: Targets = ALL_LINEARS
    iterations: Count = 1
    """How often quantisation and decomposition take turns."""


class LoftQ(QuantisedLoRA):
    """A start that makes up for the 4-bit quantisation of the base (Li et al. 2023).

    Q + s B A ≈ W with Q = nf4(W - s B A) and s B A = SVD_r(W - Q) in turn, `iterations` times. Q is the frozen base,
    and training starts from A and B. Trained parameters outside the head: LoRA's r * (d_in + d_out) per targeted
    matrix, here all linear layers of the blocks; no table of the paper counts LoftQ. r = 16 makes 2,654,208 on
    RoBERTa-base.

    peft 0.21 computes this on a GPU only, and leaves s out of the start, so that its base and change do not add up to W
    unless alpha = r. Here it is written out. Q holds values of 4-bit weights in the base's own number format, so memory
    is LoRA's, but the model is the quantised one, and it can be merged. Saved are A and B: loading quantises the base
    anew.
    """

    name = "loftq"
    label = "LoftQ"
    trains = "a rank-r product added to each targeted 4-bit matrix, starting from the quantisation's error"
    provider = "rocoft-bench"
    mergeable = True
    reference = "Li et al. 2023, arXiv 2310.08659"
    Settings = LoftQSettings
    settings: LoftQSettings
    # The authors' GSM8K script for LLaMA-2-7B.
    learning_rate, weight_decay = 3e-4, 0.1
    presets = {"causal_lm": {"rank": 64, "alpha": 64}}  # noqa: RUF012 - a constant

    def finish(self, layer: Any, name: str, seed: int) -> None:
        from rocoft_bench.methods.modules.quantisation_error import quantise, start_from

        start_from(layer, quantise(layer.get_base_layer(), self.settings.rank, self.settings.iterations))

    def load(self, model: Any, folder: Path, task_kind: str) -> nn.Module:
        from rocoft_bench.methods.modules.quantisation_error import quantise
        from rocoft_bench.methods.modules.wrappers import targeted_linears

        for linear in targeted_linears(model, self.settings.target_modules).values():
            quantise(linear, self.settings.rank, self.settings.iterations)
        return super().load(model, folder, task_kind)
