"""Runs of a method in the real trainer that crash and go on, on tiny data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from safetensors import safe_open
from torch import Tensor

from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.prediction import Evaluation, Evaluator, Logits
from rocoft_bench.engine.trainer import Trainer, TrainResult
from rocoft_bench.methods import Method

KIND = "sequence_classification"
ROWS, BATCH, EPOCHS = 24, 4, 3
STEPS = ROWS // BATCH * EPOCHS


class StopAfter(Observer):
    """Raises like a crash after some steps."""

    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def step_done(self, step: int) -> None:
        if step == self.steps:
            raise RuntimeError("crash")


class AskTheClassifier(Logits):
    def __init__(self) -> None:
        self.collate = collate


def collate(batch: Any) -> dict[str, Tensor]:
    ids = torch.tensor([row["input_ids"] for row in batch])
    return {"input_ids": ids, "labels": torch.tensor([row["labels"] for row in batch])}


def rows(count: int) -> Dataset:
    ids = np.random.default_rng(count).integers(3, 50, (count, 7))
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": (ids[:, 0] > 25).astype(int).tolist()})


def judge(logits: list[np.ndarray]) -> Evaluation:
    return Evaluation({"sum": float(sum(row.sum() for row in logits))}, [])


def train(method: Method, model: Any, folder: Path, crash_at: int | None = None) -> tuple[TrainResult, Any]:
    """A run, from a checkpoint if the folder has one; its result and the trained model."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    accelerator, observer = Accelerator(cpu=True), StopAfter(crash_at)
    applied = method.apply(model, KIND, seed=0)
    seconds = 1e-9 if crash_at else 1000.0
    settings = TrainingConfig(learning_rate=0.01, epochs=EPOCHS, batch_size=BATCH, checkpoint_seconds=seconds)
    trainer = Trainer(
        model=applied,
        train_rows=rows(ROWS),
        collate=collate,
        evaluator=Evaluator(rows(8), AskTheClassifier(), judge, 8, accelerator, observer),
        settings=settings,
        seed=1,
        accelerator=accelerator,
        workdir=folder,
        observer=observer,
        make_hooks=lambda total_steps: method.hooks(applied, settings, total_steps),
    )
    if trainer.checkpoint_path.is_file():
        torch.manual_seed(99)  # the checkpoint, not luck, restores the random state
    with patch("rocoft_bench.engine.trainer.CHECKPOINT_SHARE", 1e9):  # a checkpoint after every step, if wanted at all
        return trainer.run(), applied


def check_resuming(method: Method, make: Callable[[], Any], folder: Path, saved_at: int) -> None:
    """A run that goes on from the checkpoint after a step ends like one that never stopped, in the same file."""
    expected, whole = train(method, make(), folder / "whole")
    with pytest.raises(RuntimeError, match="crash"):
        train(method, make(), folder / "crashed", crash_at=saved_at + 1)
    with safe_open(folder / "crashed" / "checkpoint.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == saved_at
    result, resumed = train(method, make(), folder / "crashed")
    assert result.history == expected.history
    for name, model in (("one", whole), ("other", resumed)):
        method.save(model, folder / name)
    saved = [next((folder / name).glob("*.safetensors")).read_bytes() for name in ("one", "other")]
    assert saved[0] == saved[1]
