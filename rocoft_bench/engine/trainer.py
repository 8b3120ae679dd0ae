"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.batching import Batch, Collate, length_grouped_batches, longest_first_batches
from rocoft_bench.engine.checkpoint import (
    TrainState,
    load_checkpoint,
    load_trained_values,
    save_checkpoint,
    trained_values,
)
from rocoft_bench.engine.interrupt import GracefulStop, Interrupted
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.schedule import learning_rate
from rocoft_bench.runs import replace_atomically

LOG_ENTRIES = 100
"""About so many loss values are logged over a run; each one costs a wait for the device."""

CHECKPOINT_SHARE = 0.02
"""At most this share of the time goes into writing checkpoints."""


class NotFiniteError(Exception):
    """The loss became NaN or infinite."""


@dataclass
class TrainResult:
    """What a finished training leaves: the kept weights are in the model. `scores` is (rows, outputs)."""

    metrics: dict[str, float]
    scores: np.ndarray
    kept_epoch: int
    steps: int
    train_seconds: float
    eval_seconds: float
    history: list[dict[str, Any]]


class Trainer:
    """Trains a model on encoded rows, evaluates it after each epoch, and can stop and go on at any step.

    Args:
        model: Its trainable parameters are trained; its forward returns `loss`, a mean over rows, and `logits`.
        train_rows, eval_rows: Encoded rows (`input_ids`, …, `labels`) that can be indexed by row number.
        collate: Makes a padded batch of some rows.
        score: Metrics of the evaluation rows' logits (rows, outputs); the first metric decides which epoch is best.
        workdir: Where checkpoints are kept; a checkpoint found there is resumed.
    """

    def __init__(
        self,
        model: nn.Module,
        train_rows: Any,
        eval_rows: Any,
        collate: Collate,
        score: Callable[[np.ndarray], dict[str, float]],
        settings: TrainingConfig,
        seed: int,
        accelerator: Accelerator,
        workdir: Path,
        observer: Observer,
    ) -> None:
        self.settings, self.seed, self.score, self.collate = settings, seed, score, collate
        self.accelerator, self.observer = accelerator, observer
        self.train_rows, self.eval_rows = train_rows, eval_rows
        self.train_lengths = [len(ids) for ids in train_rows["input_ids"]]
        self.checkpoint_path = workdir / "checkpoint.safetensors"
        self.best_path = workdir / "best.safetensors"
        self.bare_model = model
        self.model, self.optimizer = accelerator.prepare(model, make_optimizer(model, settings))
        self.steps_per_epoch = math.ceil(
            math.ceil(len(train_rows) / settings.batch_size) / settings.gradient_accumulation
        )
        self.total_steps = self.steps_per_epoch * settings.epochs
        self.log_every = max(1, self.total_steps // LOG_ENTRIES)
        self.state = TrainState()
        self._loss_sum = torch.zeros((), device=accelerator.device)
        self._next_checkpoint = time.monotonic() + settings.checkpoint_seconds

    def run(self) -> TrainResult:
        """Train to the end.

        Raises:
            NotFiniteError: If the loss is NaN or infinite.
            Interrupted: On Ctrl-C or SIGTERM, after a checkpoint.
        """
        if self.checkpoint_path.is_file():
            self.state = load_checkpoint(self.checkpoint_path, self.bare_model, self.optimizer.optimizer)
            self._loss_sum.fill_(self.state.loss_sum)
            if self.accelerator.scaler is not None:
                self.accelerator.scaler.load_state_dict(self.state.loss_scaler)
        self.observer.training_started(self.total_steps, self.state.step)
        outcome = None
        with GracefulStop() as stop:
            for epoch in range(self.state.evaluated_epochs, self.settings.epochs):
                self._train_epoch(epoch, stop)
                outcome = self._end_epoch(epoch, stop)
            return self._finish(outcome, stop)

    def _train_epoch(self, epoch: int, stop: GracefulStop) -> None:
        self.model.train()
        started = time.perf_counter()
        for group in self._groups(epoch):
            self._step(group)
            self.observer.step_done(self.state.step)
            if self.state.step % self.log_every == 0 or self.state.step == self.total_steps:
                self._log_loss()
            due = time.monotonic() >= self._next_checkpoint
            if due or stop.requested:
                self.state.train_seconds += time.perf_counter() - started
                self._checkpoint()
                started = time.perf_counter()
            if stop.requested:
                raise Interrupted
        self.state.train_seconds += time.perf_counter() - started

    def _groups(self, epoch: int) -> Iterator[list[Batch]]:
        """The batches of each optimizer step of this epoch that is still to do."""
        accumulation = self.settings.gradient_accumulation
        plan = length_grouped_batches(self.train_lengths, self.settings.batch_size, self.seed, epoch)
        done = self.state.step - epoch * self.steps_per_epoch
        plan = plan[done * accumulation :]
        loader = iter(self._loader(self.train_rows, plan))
        for start in range(0, len(plan), accumulation):
            yield [next(loader) for _ in plan[start : start + accumulation]]

    def _loader(self, rows: Any, batches: list[list[int]]) -> DataLoader[Any]:
        return DataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=self.collate,
            pin_memory=self.accelerator.device.type == "cuda",
            generator=torch.Generator(),  # its own: a loader made on resuming must not move dropout's random state
        )

    def _step(self, group: list[Batch]) -> None:
        """One optimizer step. The loss is the mean over all rows of the group, however they are split into batches."""
        rate = learning_rate(self.state.step, self.total_steps, self.settings)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = rate
        total_rows = sum(len(batch["labels"]) for batch in group)
        for batch in group:
            batch = send_to_device(batch, self.accelerator.device, non_blocking=True)
            loss = self.model(**batch).loss * (len(batch["labels"]) / total_rows)
            self.accelerator.backward(loss)
            self._loss_sum += loss.detach()
        if self.settings.max_grad_norm is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        self.state.loss_steps += 1

    def _log_loss(self) -> None:
        state = self.state
        loss = self._loss_sum.item() / state.loss_steps
        if not math.isfinite(loss):
            raise NotFiniteError(f"the loss is {loss} at step {state.step}")
        rate = learning_rate(state.step - 1, self.total_steps, self.settings)
        self._log({"step": state.step, "loss": loss, "learning_rate": rate})
        self._loss_sum.zero_()
        state.loss_steps = 0

    def _log(self, entry: dict[str, Any]) -> None:
        self.state.history.append(entry)
        self.observer.logged(entry)

    def _end_epoch(self, epoch: int, stop: GracefulStop) -> tuple[dict[str, float], np.ndarray]:
        started = time.perf_counter()
        metrics, scores = self._evaluate(stop)
        self.state.eval_seconds += time.perf_counter() - started
        self.state.evaluated_epochs = epoch + 1
        self._log({"step": self.state.step, "epoch": epoch + 1, "metrics": metrics})
        if self.settings.keep == "best" and self._is_best(metrics):
            self.state.best_epoch = epoch + 1
            values = {name: value.cpu().contiguous() for name, value in trained_values(self.bare_model).items()}
            replace_atomically(self.best_path, lambda partial: save_file(values, partial))
        self._checkpoint()
        return metrics, scores

    def _is_best(self, metrics: dict[str, float]) -> bool:
        main = next(iter(metrics))
        earlier = [entry["metrics"][main] for entry in self.state.history[:-1] if "metrics" in entry]
        return all(metrics[main] > value for value in earlier)

    def _evaluate(self, stop: GracefulStop) -> tuple[dict[str, float], np.ndarray]:
        scores = self._predict(stop)
        if not np.isfinite(scores).all():
            raise NotFiniteError(f"the model's outputs are not finite at step {self.state.step}")
        return self.score(scores), scores

    def _predict(self, stop: GracefulStop) -> np.ndarray:
        """Logits (rows, outputs) of the evaluation rows, in their order."""
        lengths = [len(ids) for ids in self.eval_rows["input_ids"]]
        batches = longest_first_batches(lengths, self.settings.eval_batch_size)
        self.observer.evaluation_started(len(batches))
        logits: list[Tensor] = []
        self.model.eval()
        for batch in self._loader(self.eval_rows, batches):
            if stop.requested:
                self._checkpoint()
                raise Interrupted
            batch = send_to_device(batch, self.accelerator.device, non_blocking=True)
            with torch.no_grad():
                logits.append(self.model(**batch).logits.float().cpu())
            self.observer.evaluation_batch_done()
        order = torch.tensor([row for batch_rows in batches for row in batch_rows])
        return torch.cat(logits)[order.argsort()].numpy()

    def _checkpoint(self) -> None:
        started = time.monotonic()
        self.state.loss_sum = self._loss_sum.item()
        if self.accelerator.scaler is not None:
            self.state.loss_scaler = self.accelerator.scaler.state_dict()
        save_checkpoint(self.checkpoint_path, self.state, self.bare_model, self.optimizer.optimizer)
        cost = time.monotonic() - started
        self._next_checkpoint = time.monotonic() + max(self.settings.checkpoint_seconds, cost / CHECKPOINT_SHARE)

    def _finish(self, outcome: tuple[dict[str, float], np.ndarray] | None, stop: GracefulStop) -> TrainResult:
        """`outcome` is the last epoch's evaluation, unless that was made before a crash."""
        kept_epoch = self.state.best_epoch or self.settings.epochs
        if kept_epoch != self.settings.epochs:
            load_trained_values(self.bare_model, load_file(self.best_path))
            outcome = None
        metrics, scores = outcome or self._evaluate(stop)
        return TrainResult(
            metrics=metrics,
            scores=scores,
            kept_epoch=kept_epoch,
            steps=self.state.step,
            train_seconds=self.state.train_seconds,
            eval_seconds=self.state.eval_seconds,
            history=self.state.history,
        )


def make_optimizer(model: nn.Module, settings: TrainingConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; biases and norms are exempt from weight decay."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trained if not _exempt_from_decay(name)]
    exempt = [p for name, p in trained if _exempt_from_decay(name)]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": exempt, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate, fused=True)


def _exempt_from_decay(name: str) -> bool:
    lowered = name.lower()
    return "bias" in lowered or "layernorm" in lowered or "layer_norm" in lowered or ".norm" in lowered
