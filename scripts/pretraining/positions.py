"""Position embeddings to begin with."""

from __future__ import annotations

import torch
from torch import Tensor


def begin_with_sinusoids(embeddings: Tensor, scale: float) -> None:
    """Overwrite embeddings of shape (positions, size) by the sinusoids of Vaswani et al. 2017, times `scale`.

    Trained on from there, the model finds "the token before" at once, instead of anew for every position.
    """
    positions, size = embeddings.shape
    rates = 10_000 ** (-torch.arange(0, size, 2) / size)
    angles = torch.arange(positions)[:, None] * rates
    with torch.no_grad():
        embeddings.copy_(scale * torch.cat((angles.sin(), angles.cos()), dim=1))
