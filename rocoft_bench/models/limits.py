"""How many tokens a model takes."""

from typing import Any

UNLIMITED_TOKENS = 1_000_000
"""A tokenizer that knows no limit says 10^30."""

POSITION_FIELDS = ("max_position_embeddings", "n_positions")


def limits(model: Any, tokenizer: Any) -> tuple[int | None, int | None]:
    """The tokens that a model takes of an input, and of the texts that an encoder-decoder reads or writes in its
    decoder; None without a limit. No more than its positions, nor of an input than its tokenizer says.
    """
    there = positions(model)
    known = [tokens for tokens in (there, tokenizer.model_max_length) if tokens and tokens < UNLIMITED_TOKENS]
    return min(known, default=None), there if model.config.is_encoder_decoder else None


def positions(model: Any) -> int | None:
    """The tokens that a model has positions for, as its configuration says; None if it says nothing.

    Models with rotary or relative positions take more without an error, but were not trained to. RoBERTa and its like
    count from their padding index on, so that some of their embeddings stand for no position.
    """
    said = next((value for name in POSITION_FIELDS if (value := getattr(model.config, name, None))), None)
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    unused = [table.padding_idx + 1 for table in tables if getattr(table, "padding_idx", None) is not None]
    return said - max(unused) if said and unused else said
