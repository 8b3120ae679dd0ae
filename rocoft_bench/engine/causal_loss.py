"""The loss of causal language models from logits as they are: no float32 copy of all of them exists at any time."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.loss.loss_utils import ForCausalLMLoss

from rocoft_bench.engine.batching import NO_LABEL

PART = 2**22
"""So many logits are in float32 at a time, 16 MiB of them."""
CHANGES = ("num_items_in_batch", "ignore_index", "shift_labels")
"""Options of transformers' loss that make it another one."""


def keep_logits_only(model: Any) -> None:
    """Gives a model that has transformers' loss of causal models this one instead, of the very same value."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if base.loss_function is ForCausalLMLoss:
        base.loss_function = causal_loss


def causal_loss(logits: Tensor, labels: Tensor, vocab_size: int, **options: Any) -> Tensor:
    """The mean over labelled tokens, each predicted from those before it; logits (examples, tokens, vocabulary).

    What the backward pass needs of the logits it computes again, part by part. With options that ask for another loss,
    it is transformers' own.
    """
    if any(options.get(name) is not None for name in CHANGES):
        return ForCausalLMLoss(logits, labels, vocab_size, **options)
    following = F.pad(labels[:, 1:], (0, 1), value=NO_LABEL).flatten().to(logits.device)  # (N,)
    rows = max(1, PART // vocab_size)
    parts = zip(logits.view(-1, vocab_size).split(rows), following.clamp_min(0).split(rows), strict=True)
    chosen = [checkpoint(_log_probability, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    told = following.clamp_max(0)  # the one class there is, or NO_LABEL
    return F.nll_loss(torch.cat(chosen), told, ignore_index=NO_LABEL)


def _log_probability(logits: Tensor, tokens: Tensor) -> Tensor:
    """Of one token (rows,) each, in float32; logits (rows, vocabulary) -> (rows, 1)."""
    return logits.float().log_softmax(-1).gather(1, tokens[:, None])
