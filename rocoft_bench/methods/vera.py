"""VeRA: two trained vectors per matrix between random ones, W + diag(b) B diag(d) A, by peft (Kopiczko et al. 2023).

A (r, d_in) and B (d_out, r) are random, frozen and shared by all matrices, which take the rows and columns that fit
them. d starts at `d_initial`, b at zero.

A and B are drawn on the CPU from the run's seed and are not saved: the seed is, so that a fresh process draws the same
ones and the file holds no more than what was trained. Saving them would add 6.3 MB to the vectors' 0.2 MB on
RoBERTa-base, and would only guard against a PyTorch whose generator yields other numbers.

Trained parameters outside the head: r + d_out per matrix. The paper's Table 1 figure, 0.043M on RoBERTa-base, is
r = 1024 on query and value (43,008) without the head.
"""

from dataclasses import replace
from typing import Any

from pydantic import PositiveFloat

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.adapter import AdapterMethod
from rocoft_bench.methods.lora import Dropout
from rocoft_bench.methods.method import MethodMemory, Targets
from rocoft_bench.models import ModelShapes


class VeRASettings(StrictModel):
    rank: Count = 1024
    """r, the inner dimension of the random matrices."""
    d_initial: PositiveFloat = 0.1
    """Value that d starts at."""
    dropout: Dropout = 0.0
    target_modules: Targets = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults


class VeRA(AdapterMethod[VeRASettings]):
    name = "vera"
    label = "VeRA"
    trains = "two vectors per matrix around shared random matrices"
    mergeable = True
    reference = "Kopiczko et al. 2023, arXiv 2310.11454"
    Settings = VeRASettings
    peft_class = "VeraConfig"
    # The paper's rate for RoBERTa-base on MRPC, CoLA, QNLI and STS-B (Table 8; 4e-3 on SST-2 and RTE), without a decay.
    learning_rate, weight_decay = 1e-2, 0.0
    known_warnings = ("Specified to not save vera_A", "Specified to not load vera_A")

    undecayed = ("vera_lambda_b", "vera_lambda_d")  # they scale what is random, as a norm's weights do

    def peft_options(self, model: Any, seed: int) -> dict[str, Any]:
        s = self.settings
        own = {"r": s.rank, "d_initial": s.d_initial, "vera_dropout": s.dropout}
        return {**own, "projection_prng_key": seed, "save_projection": False}

    def adapter_parameters(self, shapes: ModelShapes) -> int:
        return sum(self.settings.rank + linear.d_out for linear in shapes.targeted(self.settings.target_modules))

    def memory(self, shapes: ModelShapes, itemsize: int) -> MethodMemory:
        """Kept is what d and b are multiplied with, and no inputs: A, which reads them, is frozen."""
        memory = super().memory(shapes, itemsize)
        beside = [(linear, self.settings.rank + linear.d_out) for linear in memory.inputs]
        return replace(memory, inputs=[], extra_saved_per_token=beside)
