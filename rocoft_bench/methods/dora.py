"""DoRA: the low-rank change acts on the direction of each weight, and its magnitude is trained apart, by peft.

W' = m (W + s B A) / ||W + s B A||, the norm taken of each output's row, m (d_out) starting as the norms of W
(Liu et al. 2024). Trained parameters outside the head: r * (d_in + d_out) + d_out per targeted matrix; no table of the
paper counts DoRA. The defaults are LoRA's: on RoBERTa-base, r = 8 on query and value makes 313,344.
"""

from dataclasses import replace
from typing import Any

from rocoft_bench.methods.lora import LoRA
from rocoft_bench.methods.method import MethodMemory
from rocoft_bench.models import ModelShapes


class DoRA(LoRA):
    name = "dora"
    label = "DoRA"
    trains = "a rank-r product added to each targeted matrix, and the magnitude of each row"
    reference = "Liu et al. 2024, arXiv 2402.09353"
    # The authors' script for LLaMA-2, which states no decay.
    learning_rate, weight_decay = 2e-4, 0.0

    undecayed = ("lora_magnitude_vector",)  # the magnitudes start as the norms of W

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        return {**super().peft_options(model, seed), "use_dora": True}

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        targets = shapes.targeted(self.settings.target_modules)
        return super().adapter_parameters(shapes) + sum(linear.d_out for linear in targets)

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """What LoRA keeps, what the magnitudes are multiplied with, and the changed weights, whose norms are taken."""
        memory, targets = super().memory(shapes, itemsize), shapes.targeted(self.settings.target_modules)
        return replace(
            memory,
            extra_saved_per_token=[*memory.extra_saved_per_token, *((linear, 2 * linear.d_out) for linear in targets)],
            saved_per_pass=sum(linear.d_in * linear.d_out for linear in targets),
        )
