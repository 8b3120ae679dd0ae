"""Runs of the real training loop on a tiny RoBERTa, whole or crashed and resumed."""

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
from torch import Tensor, nn

from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.prediction import Evaluation, Evaluator, Logits
from rocoft_bench.engine.trainer import Trainer
from rocoft_bench.methods import Method

KIND = "sequence_classification"
STEPS = 12


class CrashError(Exception):
    pass


class CrashAfter(Observer):
    def __init__(self, steps: int | None) -> None:
        self.steps = steps

    def step_done(self, step: int) -> None:
        if step == self.steps:
            raise CrashError


def collate(rows: Any) -> dict[str, Tensor]:
    return {key: torch.tensor([row[key] for row in rows]) for key in ("input_ids", "labels")}


class Scores(Logits):
    def __init__(self) -> None:
        self.collate = collate


def trainer(method: Method, make_model: Callable[..., Any], folder: Path, crash_at: int | None = None) -> Trainer:
    """Twelve steps in three epochs."""
    folder.mkdir(exist_ok=True)
    ids = np.random.default_rng(0).integers(3, 50, (16, 7))
    rows = Dataset.from_dict({"input_ids": ids.tolist(), "labels": (ids[:, 1] > 25).astype(int).tolist()})
    model: nn.Module = method.apply(make_model("roberta", KIND), KIND, seed=0)
    settings = TrainingConfig(epochs=3, batch_size=4, learning_rate=0.02, weight_decay=0.1, checkpoint_seconds=1e-6)
    accelerator, observer = Accelerator(cpu=True), CrashAfter(crash_at)

    def score(logits: list[np.ndarray]) -> Evaluation:
        return Evaluation({"sum": float(np.sum(logits))}, [])

    return Trainer(
        model=model,
        examples=rows,
        collate=collate,
        evaluator=Evaluator(rows, Scores(), score, 8, accelerator, observer),
        settings=settings,
        seed=1,
        accelerator=accelerator,
        workdir=folder,
        observer=observer,
        make_hooks=lambda steps: method.hooks(model, settings, steps),
    )


def crashed_and_whole(
    method: Method, make_model: Callable[..., Any], folder: Path, crash_at: int
) -> tuple[Trainer, Trainer]:
    """The same run, one in one go, one crashed in step `crash_at` and resumed from the checkpoint of the step before.

    Both have the same losses and values.
    """
    whole = trainer(method, make_model, folder / "whole")
    expected = whole.run()
    with patch("rocoft_bench.engine.trainer.CHECKPOINT_SHARE", 1e9), pytest.raises(CrashError):
        trainer(method, make_model, folder / "crashed", crash_at).run()
    resumed = trainer(method, make_model, folder / "crashed")
    with safe_open(resumed.checkpoint_path, framework="pt") as file:
        assert json.loads(file.metadata()["state"])["step"] == crash_at - 1
    torch.manual_seed(99)  # the checkpoint, not luck, restores the random state
    assert resumed.run().state.history == expected.state.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name
    return whole, resumed
