"""A tiny masked language model on disk, and few-shot rows for it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.conftest import write_rows
from tests.ntk.models import tiny, word_tokenizer

NOUNS = ("A film", "A cat", "A small cat", "A small film", "A bad film", "A good cat", "A great film was okay")


@pytest.fixture(scope="session")
def masked_lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    folder = tmp_path_factory.mktemp("masked-lm")
    tiny("roberta", torch.float32).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def rows_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mr (two classes), trec (six) and mrpc (pairs): training rows to draw from, and 20 test rows."""
    folder = tmp_path_factory.mktemp("rows") / "data"
    rng = random.Random(0)
    for task, classes in (("mr", 2), ("trec", 6), ("mrpc", 2)):
        for split, count in (("train", 10 * classes), ("test", 20)):
            rows = []
            for index in range(count):
                text, other = (
                    f"{rng.choice(NOUNS)} {rng.choice(('was', 'is'))} {rng.choice(NOUNS)}." for _ in range(2)
                )
                texts = {"text_a": text, "text_b": other} if task == "mrpc" else {"text": text}
                rows.append({**texts, "label": index % classes})
            write_rows(folder / "fewshot" / task / f"{split}.jsonl", rows)
    return folder
