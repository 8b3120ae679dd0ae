"""What prompt tuning and prefix-tuning share: they train what stands before the input."""

from __future__ import annotations

from rocoft_bench.config import Count, StrictModel
from rocoft_bench.methods.adapter import AdapterMethod


class PromptSettings(StrictModel):
    num_virtual_tokens: Count = 20
    """l, the trained positions before the input."""


class PromptLearning(AdapterMethod):
    """Not mergeable: what is trained stands beside the weights."""

    mergeable = False
    Settings = PromptSettings
    settings: PromptSettings

    @property
    def virtual_tokens(self) -> int:
        return self.settings.num_virtual_tokens
