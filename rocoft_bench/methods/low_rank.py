"""Settings that LoRA and its relatives share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat

from rocoft_bench.config import Count, Section

LLM_TARGETS = ["query", "key", "value", "ffn_in", "ffn_out"]
"""Where LLM-Adapters, whose set-up Table 2 follows, puts LoRA."""


class LowRankSettings(Section):
    rank: Count = 8
    """r, the inner dimension of the product."""
    alpha: PositiveFloat = 16
    """Numerator of the scale alpha / r."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on the adapter's input."""
    target_modules: list[str] | str = ["query", "value"]  # noqa: RUF012 - pydantic copies defaults
    """Adapted matrices: roles (query, key, value, attention_output, ffn_gate, ffn_in, ffn_out) or module names."""
