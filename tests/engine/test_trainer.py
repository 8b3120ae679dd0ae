"""The training loop on a tiny model: accumulation, resuming, the best epoch, failures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.batching import loss_terms
from rocoft_bench.engine.failure import NotFiniteError
from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.engine.interrupt import Interrupted
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.prediction import Evaluation, Evaluator, Logits
from rocoft_bench.engine.trainer import Trainer, TrainResult, make_optimizer


class Output:
    def __init__(self, loss: Tensor, logits: Tensor) -> None:
        self.loss, self.logits = loss, logits


class MeanClassifier(nn.Module):
    """Embeds tokens, averages, and classifies; dropout makes the random state matter."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8, 2)

    def forward(self, input_ids: Tensor, labels: Tensor) -> Output:
        logits = self.head(self.dropout(self.embedding(input_ids).mean(1)))
        return Output(nn.functional.cross_entropy(logits, labels), logits)


def rows(count: int, length: int | None = None) -> Dataset:
    rng = np.random.default_rng(count)
    ids = [rng.integers(1, 20, length or rng.integers(2, 9)).tolist() for _ in range(count)]
    return Dataset.from_dict({"input_ids": ids, "labels": [int(x[0] > 9) for x in ids]})


def collate(batch: Any) -> dict[str, Tensor]:
    longest = max(len(row["input_ids"]) for row in batch)
    ids = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in batch]
    return {"input_ids": torch.tensor(ids), "labels": torch.tensor([row["labels"] for row in batch])}


class AskTheClassifier(Logits):
    def __init__(self) -> None:
        self.collate = collate


def evaluator(evaluation: Dataset, accelerator: Accelerator, observer: Observer) -> Evaluator:
    def score(logits: list[np.ndarray]) -> Evaluation:
        predictions = [int(row.argmax()) for row in logits]
        accuracy = float((np.array(predictions) == np.array(evaluation["labels"][:])).mean())
        return Evaluation({"accuracy": accuracy}, [{"scores": row.tolist()} for row in logits])

    return Evaluator(evaluation, AskTheClassifier(), score, 64, accelerator, observer)


def trainer(folder: Path, observer: Observer | None = None, model: nn.Module | None = None, **settings: Any) -> Trainer:
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    return Trainer(
        model=model or MeanClassifier(),
        examples=rows(30, settings.pop("length", None)),
        collate=collate,
        evaluator=evaluator(rows(11), accelerator, observer or Observer()),
        settings=TrainingConfig(**{"epochs": 3, "batch_size": 4, "learning_rate": 0.05, **settings}),
        seed=1,
        accelerator=accelerator,
        workdir=folder,
        observer=observer or Observer(),
    )


def weights(t: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in t.model.state_dict().items()}


class StopAfter(Observer):
    """Raises like a crash after some steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def step_done(self, step: int) -> None:
        if step == self.steps:
            raise RuntimeError("crash")


@pytest.mark.parametrize("crash_at", [1, 5, 8, 9, 16, 23, 24])
@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_crashed_run_goes_on_to_the_identical_result(tmp_path: Path, crash_at: int, keep: str) -> None:
    whole = trainer(tmp_path / "whole", keep=keep)
    (tmp_path / "whole").mkdir()
    expected = whole.run()
    folder = tmp_path / "crashed"
    folder.mkdir()
    with pytest.raises(RuntimeError, match="crash"):
        trainer(folder, StopAfter(crash_at), keep=keep, checkpoint_seconds=1e-6).run()
    resumed = trainer(folder, keep=keep)
    if crash_at > 1:  # a crash in the first step comes before the first checkpoint: the run starts afresh
        assert resumed.checkpoint_path.is_file()
        torch.manual_seed(99)  # the checkpoint, not luck, restores the random state
    result = resumed.run()
    assert_same(expected, result)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(resumed)[name]), name


def assert_same(expected: TrainResult, result: TrainResult) -> None:
    assert result.evaluation == expected.evaluation
    assert result.state.history == expected.state.history
    assert (result.kept_epoch, result.state.step) == (expected.kept_epoch, expected.state.step)


def test_a_run_without_a_checkpoint_starts_afresh(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="crash"):
        trainer(tmp_path, StopAfter(3), checkpoint_seconds=1000).run()
    assert not (tmp_path / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(("size", "accumulation"), [(12, 1), (6, 2), (4, 3), (1, 12)])
def test_accumulation_does_not_change_the_loss_or_the_step(tmp_path: Path, size: int, accumulation: int) -> None:
    """30 rows make two full steps of 12 rows and one of 6, whichever way they are split into batches."""
    common = {"epochs": 1, "length": 5, "max_grad_norm": None}
    reference = trainer(tmp_path, model=MeanClassifier(0.0), batch_size=12, **common)
    batches = [batch for group in reference._passes_by_step(0) for batch, _ in group]
    other = trainer(tmp_path, model=MeanClassifier(0.0), batch_size=size, gradient_accumulation=accumulation, **common)
    other.model.load_state_dict(reference.model.state_dict())
    for batch in batches:
        count = len(batch["labels"])
        parts = [{key: value[i : i + size] for key, value in batch.items()} for i in range(0, count, size)]
        reference._step([(batch, count)])
        other._step([(part, len(part["labels"])) for part in parts])
    assert other._loss_sum.item() == pytest.approx(reference._loss_sum.item(), rel=1e-6)
    for name, value in weights(reference).items():
        torch.testing.assert_close(weights(other)[name], value)


@pytest.mark.parametrize(("accumulation", "steps"), [(1, 8), (3, 3), (100, 1)])
def test_steps_per_epoch(tmp_path: Path, accumulation: int, steps: int) -> None:
    result = trainer(tmp_path, epochs=1, gradient_accumulation=accumulation).run()
    assert result.state.step == steps


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    t = trainer(tmp_path, keep="best", epochs=4)
    accuracies = iter([0.2, 0.8, 0.8, 0.5, 0.8])
    seen: list[Tensor] = []

    def score(logits: list[np.ndarray]) -> Evaluation:
        seen.append(t.model.get_parameter("head.weight").detach().clone())
        return Evaluation({"accuracy": next(accuracies)}, [])

    t.evaluator = dataclasses.replace(t.evaluator, score=score)
    result = t.run()
    assert result.kept_epoch == 2
    assert torch.equal(t.model.get_parameter("head.weight"), seen[1])
    assert result.evaluation.metrics == {"accuracy": 0.8}


def test_a_nan_loss_ends_the_run(tmp_path: Path) -> None:
    t = trainer(tmp_path)
    with torch.no_grad():
        t.model.get_parameter("head.bias").fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="the loss is nan at step 1"):
        t.run()


class AskToStop(Observer):
    def step_done(self, step: int) -> None:
        import os
        import signal

        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_stop_signal_loses_no_finished_step(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = trainer(whole).run()
    with pytest.raises(Interrupted):
        trainer(tmp_path, AskToStop(), checkpoint_seconds=1000).run()
    resumed = trainer(tmp_path)
    result = resumed.run()
    assert result.state.history == expected.state.history


def test_a_damaged_checkpoint_costs_the_steps_that_it_held_and_is_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    expected = trainer(whole).run()
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half a file")
    result = trainer(tmp_path).run()
    assert result.state.history == expected.state.history
    (note,) = result.state.notes
    assert note.startswith("the run began again from its first step: its checkpoint was damaged: ")


def test_training_learns(tmp_path: Path) -> None:
    result = trainer(tmp_path, epochs=20).run()
    losses = [entry["loss"] for entry in result.state.history if "loss" in entry]
    assert losses[-1] < 0.5 * losses[0]


def test_weight_decay_spares_biases_and_norms() -> None:
    model = nn.ModuleDict({"linear": nn.Linear(2, 2), "LayerNorm": nn.LayerNorm(2)})
    groups = make_optimizer(model, TrainingConfig(weight_decay=0.1), Hooks()).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (3, 0.0)]


def test_evaluation_before_the_first_step_and_at_the_end_only(tmp_path: Path) -> None:
    result = trainer(tmp_path, evaluate="end", evaluate_before=True).run()
    assert [entry["epoch"] for entry in result.state.history if "metrics" in entry] == [0, 3]
    assert result.kept_epoch == 3


def test_the_loss_of_accumulated_tokens_is_a_mean_over_tokens(tmp_path: Path) -> None:
    """Examples with different numbers of labelled tokens: two batches of one row weigh as one batch of both."""

    class NextToken(MeanClassifier):
        def forward(self, input_ids: Tensor, labels: Tensor) -> Output:
            logits = self.head(self.embedding(input_ids))
            return Output(nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), logits)

    def padded(batch: Any) -> dict[str, Tensor]:
        ids = pad_sequence([torch.tensor(row["input_ids"]) for row in batch], batch_first=True)
        labels = pad_sequence([torch.tensor(row["labels"]) for row in batch], batch_first=True, padding_value=-100)
        return {"input_ids": ids, "labels": labels}

    data = Dataset.from_dict({"input_ids": [[1, 2, 3, 4], [5, 6]], "labels": [[-100, 1, 0, 1], [-100, 1]]})
    results = []
    for size, accumulation in ((2, 1), (1, 2)):
        torch.manual_seed(0)
        t = trainer(tmp_path, model=NextToken(), batch_size=size, gradient_accumulation=accumulation)
        t.examples, t.lengths, t.collate = data, [4, 2], padded
        batches = [padded([data[i] for i in rows]) for rows in ([[0, 1]] if size == 2 else [[0], [1]])]
        t._step([(batch, loss_terms(batch)) for batch in batches])
        results.append((t._loss_sum.item(), weights(t)))
    (loss, one), (same_loss, other) = results
    assert loss == pytest.approx(same_loss, rel=1e-6)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name])
