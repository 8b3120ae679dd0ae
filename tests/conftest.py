"""A tiny BERT with random weights, and a small GLUE folder, both written by hand for the tests."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

WORDS = (
    *("the", "a", "cat", "dog", "bird", "man", "woman", "child", "sleeps", "runs", "sings", "eats"),
    *("in", "park", "house", "and", "not", "no", "every", "some", "big", "small"),
)


@pytest.fixture(scope="session", autouse=True)
def _one_thread_per_worker() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a 2-layer BERT of width 16 and its WordPiece tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("tiny-bert")
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    BertTokenizer(vocab=vocabulary, model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 9)))


@pytest.fixture(scope="session")
def glue_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 training and 13 validation rows of rte (pairs, two labels), cola (single) and stsb (regression)."""
    folder = tmp_path_factory.mktemp("data")
    rng = random.Random(0)
    for task in ("rte", "cola", "stsb"):
        for split, count in (("train", 40), ("validation", 13)):
            rows = []
            for index in range(count):
                text = (
                    {"sentence": sentence(rng)}
                    if task == "cola"
                    else {
                        "sentence1": sentence(rng),
                        "sentence2": sentence(rng),
                    }
                )
                label = rng.randint(0, 50) / 10 if task == "stsb" else rng.randint(0, 1)
                rows.append({**text, "label": label, "idx": index})
            write_rows(folder / "glue" / task / f"{split}.jsonl", rows)
    return folder


def write_rows(file: Path, rows: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def rocoft(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Calls the real command line in this process."""

    def call(*arguments: object) -> Outcome:
        from rocoft_bench.cli import main

        monkeypatch.setattr(sys, "argv", ["rocoft", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
