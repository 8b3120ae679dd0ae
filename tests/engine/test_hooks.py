"""What a method may add to the training loop: when it is called, and that a resumed run goes on identically."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import Tensor, nn

from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.prediction import Evaluation, Evaluator, Logits
from rocoft_bench.engine.trainer import Trainer


class Output:
    def __init__(self, loss: Tensor, logits: Tensor) -> None:
        self.loss, self.logits = loss, logits


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 4)
        self.head = nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, labels: Tensor) -> Output:
        logits = self.head(self.embedding(input_ids).mean(1))
        return Output(nn.functional.cross_entropy(logits, labels), logits)


ROWS = Dataset.from_dict({"input_ids": [[1 + i % 7, 2, 3] for i in range(12)], "labels": [i % 2 for i in range(12)]})


def collate(rows: Any) -> dict[str, Tensor]:
    return {name: torch.tensor([row[name] for row in rows]) for name in ("input_ids", "labels")}


class Ask(Logits):
    def __init__(self) -> None:
        self.collate = collate


def trainer(folder: Path, hooks: Hooks, observer: Observer | None = None, **settings: Any) -> Trainer:
    """Three epochs of three steps."""
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    accelerator, observer = Accelerator(cpu=True), observer or Observer()
    evaluator = Evaluator(ROWS, Ask(), lambda outputs: Evaluation({"x": 0.0}, []), 64, accelerator, observer)
    values = {"epochs": 3, "batch_size": 4, "learning_rate": 0.05, "lr_scheduler": "constant", **settings}
    training = TrainingConfig(**values)
    return Trainer(
        Classifier(), ROWS, collate, evaluator, training, 1, accelerator, folder, observer, lambda total: hooks
    )


class Recorder(Hooks):
    """Writes down what is called, and whether gradients are there."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, bool]] = []
        self.model: nn.Module | None = None

    def _note(self, what: str, step: int) -> None:
        assert self.model is not None
        self.calls.append((what, step, self.model.get_parameter("head.weight").grad is not None))

    def before_step(self, step: int) -> None:
        self._note("before", step)

    def after_backward(self, step: int) -> None:
        self._note("backward", step)

    def after_step(self, step: int) -> None:
        self._note("after", step)


def test_the_order_of_the_calls(tmp_path: Path) -> None:
    hooks = Recorder()
    t = trainer(tmp_path, hooks, epochs=1, batch_size=2, gradient_accumulation=3)
    hooks.model = t.model
    t.run()
    assert hooks.calls == [
        (what, step, there)
        for step in (1, 2)
        for what, there in (("before", False), ("backward", True), ("after", True))
    ]


class FasterHead(Hooks):
    def group_options(self, name: str) -> dict[str, float]:
        return {"learning_rate": 0.5, "weight_decay": 0.25} if name.startswith("head.") else {}


def test_parameters_may_have_a_rate_and_a_decay_of_their_own(tmp_path: Path) -> None:
    t = trainer(tmp_path, FasterHead(), lr_scheduler="linear", weight_decay=0.1)
    seen = []
    t.observer.step_done = lambda step: seen.append([group["lr"] for group in t.optimizer.param_groups])  # type: ignore
    result = t.run()
    groups = t.optimizer.param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(1, 0.1), (2, 0.25)]
    assert seen[0] == [0.05, 0.5]
    assert seen[3] == pytest.approx([0.05 * 6 / 9, 0.5 * 6 / 9])
    assert result.state.history[0]["learning_rate"] == 0.05


class PullToZero(Hooks):
    def __init__(self) -> None:
        self.model: Any = None

    def extra_loss(self) -> Tensor:
        return 1e4 * self.model.head.weight.square().sum()


@pytest.mark.parametrize("accumulation", [1, 3])
def test_an_extra_loss_is_added_once_and_not_logged(tmp_path: Path, accumulation: int) -> None:
    hooks = PullToZero()
    t = trainer(tmp_path, hooks, max_grad_norm=None, gradient_accumulation=accumulation)
    hooks.model = t.model
    before = t.model.get_parameter("head.weight").detach().clone()
    gradients = []
    hooks.after_backward = lambda step: gradients.append(t.model.head.weight.grad.clone())  # type: ignore
    result = t.run()
    torch.testing.assert_close(gradients[0], 2e4 * before, rtol=1e-3, atol=1.0)
    assert all(entry["loss"] < 10 for entry in result.state.history if "loss" in entry)


class TwoStages(Hooks):
    def stage(self, step: int, total_steps: int) -> tuple[int, int]:
        return (step, 6) if step < 6 else (step - 6, total_steps - 6)


def test_the_schedule_may_start_again(tmp_path: Path) -> None:
    result = trainer(tmp_path, TwoStages(), lr_scheduler="linear").run()
    rates = [entry["learning_rate"] / 0.05 for entry in result.state.history if "loss" in entry]
    assert rates == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 1, 2 / 3, 1 / 3])


class Momentum(Hooks):
    """Keeps a sum of gradients and adds it to the weights: of no use, but wrong if the sum is lost."""

    def __init__(self) -> None:
        self.model: Any = None
        self.total = torch.zeros(2, 4)

    def after_step(self, step: int) -> None:
        self.total += self.model.head.weight.grad
        self.model.head.weight.data.add_(self.total, alpha=0.1)

    def state(self) -> dict[str, Tensor]:
        return {"total": self.total}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.total = state["total"].clone()


class CrashAt(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def step_done(self, step: int) -> None:
        if step == self.step:
            raise RuntimeError("crash")


@pytest.mark.parametrize("crash_at", [2, 5, 7])
def test_a_methods_state_survives_a_crash(tmp_path: Path, crash_at: int) -> None:
    def run(folder: Path, observer: Observer | None = None) -> Trainer:
        hooks = Momentum()
        t = trainer(folder, hooks, observer, checkpoint_seconds=1e-6)
        hooks.model = t.model
        t.run()
        return t

    expected = run(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="crash"):
        run(tmp_path / "crashed", CrashAt(crash_at))
    resumed = run(tmp_path / "crashed")
    assert resumed.state.history == expected.state.history
    for name, value in expected.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
