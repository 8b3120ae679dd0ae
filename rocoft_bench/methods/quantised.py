"""LoRA on quantised base weights, which need bitsandbytes."""

from __future__ import annotations

import importlib.util

from rocoft_bench.errors import UserError
from rocoft_bench.methods.lora import LoRA
from rocoft_bench.models import ROLES

ALL_LINEARS = list(ROLES)
"""All linear layers of the transformer blocks."""


class QuantisedLoRA(LoRA):
    def check_supports(self, task_kind: str, model_type: str | None) -> None:
        super().check_supports(task_kind, model_type)
        if importlib.util.find_spec("bitsandbytes") is None:
            raise UserError(f"method {self.name} needs bitsandbytes: pip install 'rocoft-bench[quant]'")
