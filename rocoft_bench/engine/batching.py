"""Batches of similar length, padded to their own longest example."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow.compute
import torch
from torch import Tensor

Batch = dict[str, Any]
"""Arguments of a model's forward: tensors, and how many logits are needed where that is not all."""
Collate = Callable[[Sequence[dict[str, Any]]], Batch]

INPUTS = ("input_ids", "token_type_ids")
TARGETS = ("labels", "start_positions", "end_positions", "mask_position")
NO_LABEL = -100
"""Marks tokens that no loss is computed on, as in transformers."""

MEGABATCH = 50
"""Batches per shuffled chunk that is sorted by length: padding falls by most of what a full sort would save."""


def length_grouped_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Example numbers of each batch of one epoch: shuffled, but alike in length within a batch.

    A pure function of its arguments, so a resumed run sees the same batches. Every example occurs exactly once.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(lengths), generator=generator).tolist()
    chunk = batch_size * MEGABATCH
    batches = []
    for start in range(0, len(order), chunk):
        numbers = sorted(order[start : start + chunk], key=lambda number: lengths[number], reverse=True)
        batches += [numbers[i : i + batch_size] for i in range(0, len(numbers), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def shared(passes: Sequence[list[int]], processes: int) -> list[list[list[int]]]:
    """The examples of a step's forward passes, shared among processes: for each, those of each of its passes.

    All get equally many passes. Whole ones are dealt out first; the examples of the rest are split, which can
    leave a process with none in its last pass. No pass grows.
    """
    whole = len(passes) - len(passes) % processes
    rest = [number for numbers in passes[whole:] for number in numbers]
    shares = [list(passes[index:whole:processes]) for index in range(processes)]
    if rest:
        for index, share in enumerate(shares):
            share.append(rest[index * len(rest) // processes : (index + 1) * len(rest) // processes])
    return shares


def longest_first_batches(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Example numbers of each evaluation batch, longest first: least padding, and too little memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda number: lengths[number], reverse=True)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def lengths_of(examples: Any, column: str = "input_ids") -> list[int]:
    """Tokens of each encoded example, in a column that holds a list of them. Looks at none of them."""
    return pyarrow.compute.list_value_length(examples.with_format("arrow")[:][column]).to_pylist()


def padding_collate(tokenizer: Any, padding_side: str = "right") -> Collate:
    """A function that pads encoded examples to one batch: inputs (examples, longest one's tokens), targets as they are.

    Labels are one number an example, or one a token and then padded with `NO_LABEL`. Other columns are left out.
    """
    padding = {
        "input_ids": tokenizer.pad_token_id,
        "token_type_ids": tokenizer.pad_token_type_id,
        "labels": NO_LABEL,
    }

    def collate(examples: Sequence[dict[str, Any]]) -> Batch:
        told = _told([each["input_ids"] for each in examples], padding_side)
        batch = {"attention_mask": torch.from_numpy(told.astype(np.int64))}
        for name in (*INPUTS, *TARGETS):
            if name in examples[0]:
                values = [each[name] for each in examples]
                of_tokens = isinstance(values[0], list)
                batch[name] = _padded(values, padding_side, padding[name]) if of_tokens else torch.tensor(values)
        return batch

    return collate


def _told(rows: Sequence[list[int]], padding_side: str) -> np.ndarray:
    """Where the rows have something, of as many places as the longest has."""
    lengths = np.array([len(row) for row in rows])[:, None]
    places = np.arange(lengths.max())
    is_told: np.ndarray = places < lengths if padding_side == "right" else places >= len(places) - lengths
    return is_told


def _padded(rows: Sequence[list[int]], padding_side: str, padding: int) -> Tensor:
    """All rows as long as the longest. From flat numbers: torch takes ten times as long to read nested lists."""
    told = _told(rows, padding_side)  # the labels of an encoder-decoder have lengths of their own
    full = np.full(told.shape, padding, np.int64)
    full[told] = np.fromiter(chain.from_iterable(rows), np.int64)
    return torch.from_numpy(full)


def without_unused_logits(collate: Collate) -> Collate:
    """The same batches for a causal model that need not put out what no labelled token is predicted from."""

    def cut(examples: Sequence[dict[str, Any]]) -> Batch:
        batch = collate(examples)
        labels = batch["labels"]  # (examples, tokens)
        unused = max(0, int((labels != NO_LABEL).any(0).int().argmax()) - 1)
        return {**batch, "labels": labels[:, unused:], "logits_to_keep": labels.shape[1] - unused}

    return cut


def loss_terms(batch: Batch) -> int:
    """How many terms a model's loss of this batch is the mean of: labelled tokens, or examples."""
    labels = batch.get("labels")
    if labels is None or labels.dim() == 1:
        return len(batch["input_ids"])
    return int((labels != NO_LABEL).sum())
