"""Methods whose trained part is a PEFT adapter: saved and loaded in PEFT's format."""

from __future__ import annotations

import re
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.errors import UserError, suggest
from rocoft_bench.methods.base import Method

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

TASK_TYPES = {
    "sequence_classification": "SEQ_CLS",
    "question_answering": "QUESTION_ANS",
    "causal_lm": "CAUSAL_LM",
    "seq2seq_lm": "SEQ_2_SEQ_LM",
}
"""PEFT's task type for a task kind; where the kind has a task head, PEFT then trains and saves it in full."""


class AdapterMethod(Method):
    """Wraps the model with `peft.get_peft_model`."""

    @abstractmethod
    def peft_config(self, task_type: str, seed: int) -> PeftConfig:
        """The adapter's configuration."""

    def apply(self, model: nn.Module, task_kind: str, seed: int) -> nn.Module:
        from peft import get_peft_model
        from peft.utils.error import NoMatchingPeftModuleError

        config = self.peft_config(TASK_TYPES[task_kind], seed)
        try:
            return get_peft_model(model, config)
        except NoMatchingPeftModuleError:
            wanted: Any = getattr(config, "target_modules", None)
            named = wanted if isinstance(wanted, str) else ", ".join(sorted(wanted))
            raise UserError(f"method.target_modules: the model has no {named}; {_targets(model, named)}") from None

    def save(self, model: Any, folder: Path) -> None:
        model.save_pretrained(folder, save_embedding_layers=False)  # "auto" would ask the hub

    def load(self, model: Any, folder: Path) -> nn.Module:
        from peft import PeftModel

        return PeftModel.from_pretrained(model, folder)

    def merge(self, model: Any) -> nn.Module:
        if not self.mergeable:
            raise UserError(f"{self.name} cannot be merged into the base model")
        return model.merge_and_unload(safe_merge=True)


def _targets(model: nn.Module, wanted: str) -> str:
    """Which targets the model has, by their names within a block."""
    from rocoft_bench.models import block_linears

    return suggest(wanted, {re.sub(r".*\.\d+\.", "", linear.name) for linear in block_linears(model)})
