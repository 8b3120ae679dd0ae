"""Batches of similar length, padded to their own longest row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Batch = dict[str, Tensor]
Collate = Callable[[Sequence[dict[str, Any]]], Batch]

MEGABATCH = 50
"""Batches per shuffled chunk that is sorted by length: padding falls by most of what a full sort would save."""


def length_grouped_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers of each batch of one epoch: shuffled, but alike in length within a batch.

    A pure function of its arguments, so a resumed run sees the same batches. Every row occurs exactly once.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    chunk = batch_size * MEGABATCH
    batches = []
    for start in range(0, len(order), chunk):
        rows = sorted(order[start : start + chunk], key=lambda row: lengths[row], reverse=True)
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def longest_first_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Row numbers of each evaluation batch, longest first: least padding, and running out of memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda row: lengths[row], reverse=True)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def padding_collate(tokenizer: Any) -> Collate:
    """A function that pads rows with `input_ids` and `labels` to one batch of tensors (rows, longest row)."""

    def collate(rows: Sequence[dict[str, Any]]) -> Batch:
        features = [{key: value for key, value in row.items() if key != "labels"} for row in rows]
        batch = dict(tokenizer.pad(features, padding=True, return_tensors="pt"))
        batch["labels"] = torch.tensor([row["labels"] for row in rows])
        return batch

    return collate
