"""The training loop: `Trainer.run` is all of it, `Trainer._step` one optimizer step."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from safetensors.torch import load_file
from torch import nn

from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.batching import Batch, Collate, length_grouped_batches, lengths_of, loss_terms, shared
from rocoft_bench.engine.checkpoint import (
    CheckpointError,
    TrainState,
    load_checkpoint,
    load_trained_values,
    save_checkpoint,
    save_trained_values,
)
from rocoft_bench.engine.failure import NotFiniteError
from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.engine.interrupt import GracefulStop, Interrupted
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.prediction import Evaluation, Evaluator, make_loader
from rocoft_bench.engine.processes import Processes
from rocoft_bench.engine.sharding import let_generate, make_trained_whole
from rocoft_bench.models.parameter_counts import is_bias, is_norm

LOG_ENTRIES = 100
"""About so many loss values are logged over a run; each one costs a wait for the device."""

CHECKPOINT_SHARE = 0.02
"""At most this share of the time goes into writing checkpoints."""


Pass = tuple[Batch, int]
"""A forward and backward pass of a step: a batch, and how many terms of the step's loss it has. Without any, it is
there because other processes have a pass that they need a counterpart for."""


@dataclass
class TrainResult:
    """What a finished training leaves: the kept weights are in the model."""

    evaluation: Evaluation
    kept_epoch: int
    state: TrainState


@dataclass(eq=False)
class Trainer:
    """Trains a model on encoded examples, evaluates it after each epoch, and can stop and resume at any step.

    Several processes share the examples of each step, which are the same for any number of them, as is its loss.

    model: its trainable parameters are trained; its forward returns `loss`, a mean over examples or tokens.
    examples: encoded (`input_ids`, …, targets); can be indexed by number.
    collate: makes a padded batch of some examples.
    evaluator: evaluates the model; its first metric decides which epoch is best.
    workdir: where checkpoints are kept; a checkpoint found there is resumed.
    make_hooks: from the number of optimizer steps to what the method adds to the loop.
    """

    model: nn.Module
    examples: Any
    collate: Collate
    evaluator: Evaluator
    settings: TrainingConfig
    seed: int
    accelerator: Accelerator
    workdir: Path
    observer: Observer
    make_hooks: Callable[[int], Hooks] = lambda total_steps: Hooks()
    processes: Processes = field(default_factory=Processes)

    def __post_init__(self) -> None:
        settings, batches = self.settings, math.ceil(len(self.examples) / self.settings.batch_size)
        self.lengths = lengths_of(self.examples)
        self.checkpoint_path = self.workdir / "checkpoint.safetensors"
        self.best_path = self.workdir / "best.safetensors"
        self.steps_per_epoch = math.ceil(batches / settings.gradient_accumulation)
        self.total_steps = self.steps_per_epoch * settings.epochs
        self.log_every = max(1, self.total_steps // LOG_ENTRIES)
        self.hooks = self.make_hooks(self.total_steps)
        optimizer = make_optimizer(self.model, settings, self.hooks)
        self.prepared, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        let_generate(self.model)
        self.peak_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.state = TrainState()
        self._loss_sum = torch.zeros((), device=self.accelerator.device)
        self._step_began = 0.0
        self._next_checkpoint = time.monotonic() + settings.checkpoint_seconds

    def run(self) -> TrainResult:
        """Train to the end.

        Raises:
            NotFiniteError: If the loss is NaN or infinite.
            Interrupted: On Ctrl-C, SIGTERM or SIGHUP, after a checkpoint.
        """
        if self.checkpoint_path.is_file():
            self._resume()
        self.hooks.started(self.optimizer.optimizer)
        self.observer.training_started(self.total_steps, self.state.step)
        last = None
        with GracefulStop() as stop:
            if self.settings.evaluate_before and not self.state.history:
                self._log_evaluation(0, stop)
            for epoch in range(self.state.epochs, self.settings.epochs):
                self.prepared.train()
                self._step_began = time.perf_counter()
                for passes in self._passes_by_step(epoch):
                    self._step(passes)
                    self._after_step(stop)
                last = self._end_epoch(epoch, stop)
            return self._finish(last, stop)

    def _resume(self) -> None:
        """Take up the checkpoint, or begin again, and say so, where it cannot be used."""
        try:
            self.state = load_checkpoint(
                self.checkpoint_path, self.model, self.optimizer.optimizer, self.hooks, self.processes
            )
        except CheckpointError as error:
            # lost are hours, not the run: its inputs are checked, so it comes out the same
            self._note(f"the run began again from its first step: its checkpoint was {error}")
            return
        if self.processes.is_main:  # the others begin with no loss of their own: what is logged is the sum
            self._loss_sum.fill_(self.state.loss_sum * self.processes.count)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(self.state.loss_scaler)
        before, now = self.state.processes, self.processes.count
        if before != now and self.state.step < self.total_steps:
            self._note(f"{now} instead of {before} processes from step {self.state.step + 1} on: dropout differs there")

    def _note(self, note: str) -> None:
        self.state.notes.append(note)
        self.observer.note(note)

    def _passes_by_step(self, epoch: int) -> Iterator[list[Pass]]:
        """This process' passes of each optimizer step of an epoch that is still to do."""
        accumulation = self.settings.gradient_accumulation
        plan = length_grouped_batches(self.lengths, self.settings.batch_size, self.seed, epoch)
        done = self.state.step - epoch * self.steps_per_epoch
        steps = [plan[start : start + accumulation] for start in range(done * accumulation, len(plan), accumulation)]
        own = [shared(step, self.processes.count)[self.processes.index] for step in steps]
        # a pass without examples of its own takes any along, which does not count: it has no terms
        numbers = [batch or step[0][:1] for step, share in zip(steps, own, strict=True) for batch in share]
        loader = iter(make_loader(self.examples, numbers, self.collate, self.accelerator.device))
        for share in own:
            batches = [(next(loader), numbers) for numbers in share]
            yield [(batch, loss_terms(batch) if numbers else 0) for batch, numbers in batches]

    def _step(self, passes: list[Pass]) -> None:
        """One optimizer step. Its loss is the mean over all terms of all processes' passes, however they are split."""
        number = self.state.step + 1
        factor = self._rate_factor(self.state.step)
        for group, peak in zip(self.optimizer.param_groups, self.peak_rates, strict=True):
            group["lr"] = peak * factor
        self.hooks.before_step(number)
        self._backward(passes)
        self.hooks.after_backward(number)
        if self.settings.max_grad_norm is not None:
            self.accelerator.clip_grad_norm_(self.prepared.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()
        self.hooks.after_step(number)
        self.optimizer.zero_grad()
        self.state.step += 1
        self.state.loss_steps += 1

    def _backward(self, passes: list[Pass]) -> None:
        """Gradients of the step's loss, and of the method's extra one, which is not logged.

        They are averaged over the processes, so each takes its share of the loss times their number.
        """
        extra = self.hooks.extra_loss()
        total = self.processes.sum(sum(terms for _, terms in passes))
        for number, (batch, terms) in enumerate(passes, 1):
            with nullcontext() if number == len(passes) else self.accelerator.no_sync(self.prepared):
                batch = send_to_device(batch, self.accelerator.device, non_blocking=True)
                loss = self.prepared(**batch).loss * (self.processes.count * terms / total)
                self._loss_sum += loss.detach()
                self.accelerator.backward(loss if extra is None else loss + extra)
            extra = None

    def _after_step(self, stop: GracefulStop) -> None:
        """Show and log what was done, and write a checkpoint if it is time to or the run is to stop.

        Raises: Interrupted where some process was asked to stop.
        """
        self.observer.step_done(self.state.step)
        if self.state.step % self.log_every == 0 or self.state.step == self.total_steps:
            self._log_loss()
        stopping, due = self.processes.any(stop.requested, time.monotonic() >= self._next_checkpoint)
        self.state.train_seconds += time.perf_counter() - self._step_began
        if stopping or due:
            self._checkpoint()
        if stopping:
            raise Interrupted
        self._step_began = time.perf_counter()  # a checkpoint's time is not the training's

    def _rate_factor(self, step: int) -> float:
        """The learning rate of a step (from 0) as a share of the peak."""
        scale = self.hooks.rate_scale(step)
        return scale * rate_factor(*self.hooks.stage(step, self.total_steps), self.settings)

    def _log_loss(self) -> None:
        state = self.state
        loss = self._mean_over_processes(self._loss_sum.item()) / state.loss_steps
        if not math.isfinite(loss):
            raise NotFiniteError(f"the loss is {loss} at step {state.step}")
        rate = self.settings.learning_rate * self._rate_factor(state.step - 1)
        self._log({"step": state.step, "loss": loss, "learning_rate": rate})
        self._loss_sum.zero_()
        state.loss_steps = 0

    def _mean_over_processes(self, number: float) -> float:
        return self.processes.sum(number) / self.processes.count

    def _log(self, entry: dict[str, Any]) -> None:
        self.state.history.append(entry)
        self.observer.logged(entry)

    def _end_epoch(self, epoch: int, stop: GracefulStop) -> Evaluation | None:
        """Evaluate, where the settings say so, and keep what has to be kept."""
        wanted = self.settings.evaluate == "epochs" or epoch + 1 == self.settings.epochs
        evaluation = self._log_evaluation(epoch + 1, stop) if wanted else None
        self.state.epochs = epoch + 1
        scores = [next(iter(entry["metrics"].values())) for entry in self.state.history if entry.get("epoch")]
        if self.settings.keep == "best" and all(scores[-1] > score for score in scores[:-1]):
            self.state.best_epoch = epoch + 1
            save_trained_values(self.best_path, self.model, self.processes)
        self._checkpoint()
        return evaluation

    def _log_evaluation(self, epoch: int, stop: GracefulStop) -> Evaluation:
        started = time.perf_counter()
        evaluation = self._evaluate(stop)
        self.state.eval_seconds += time.perf_counter() - started
        self._log({"step": self.state.step, "epoch": epoch, "metrics": evaluation.metrics})
        return evaluation

    def _evaluate(self, stop: GracefulStop) -> Evaluation:
        try:
            return self.evaluator.run(self.model, stop)
        except Interrupted:
            self._checkpoint()
            raise

    def _checkpoint(self) -> None:
        started = time.monotonic()
        self.state.loss_sum = self._mean_over_processes(self._loss_sum.item())
        if self.accelerator.scaler is not None:
            self.state.loss_scaler = self.accelerator.scaler.state_dict()
        optimizer = self.optimizer.optimizer
        save_checkpoint(self.checkpoint_path, self.state, self.model, optimizer, self.hooks, self.processes)
        cost = time.monotonic() - started
        self._next_checkpoint = time.monotonic() + max(self.settings.checkpoint_seconds, cost / CHECKPOINT_SHARE)

    def _finish(self, last: Evaluation | None, stop: GracefulStop) -> TrainResult:
        """`last` is the last epoch's evaluation, unless that was made before a crash."""
        kept_epoch = self.state.best_epoch or self.settings.epochs
        if kept_epoch != self.settings.epochs:
            self.processes.wait()  # the main one may still be writing
            load_trained_values(self.model, load_file(self.best_path))
            last = None
        evaluation = last or self._evaluate(stop)
        make_trained_whole(self.model)
        return TrainResult(evaluation, kept_epoch, self.state)


def make_optimizer(model: nn.Module, settings: TrainingConfig, hooks: Hooks) -> torch.optim.Optimizer:
    """The hooks' optimizer (AdamW by default) over the trainable parameters, grouped by peak rate and weight decay.

    Biases and the parameters of norms are exempt from weight decay, and what the hooks say.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            options = hooks.group_options(name)
            decay = 0.0 if _is_exempt(model, name) else settings.weight_decay
            rate = options.get("learning_rate", settings.learning_rate)
            groups.setdefault((rate, options.get("weight_decay", decay)), []).append(parameter)
    return hooks.make_optimizer(
        [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]
    )


def _is_exempt(model: nn.Module, name: str) -> bool:
    """Whether a parameter is a bias or a norm's. What a tensor is parametrised by counts as that tensor."""
    owner, _, tensor = name.partition(".parametrizations.")
    if not tensor:
        owner, _, tensor = name.rpartition(".")
    return is_bias(name) or is_bias(f"{owner}.{tensor.partition('.')[0]}") or is_norm(model.get_submodule(owner))


def rate_factor(step: int, total_steps: int, settings: TrainingConfig) -> float:
    """Share of the peak rate at step `step` (from 0): linear warm-up, then cosine, linear or no decay to zero.

    The same values as transformers' `get_scheduler` of that name.
    """
    if step < settings.warmup_steps:
        return step / settings.warmup_steps
    progress = (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps)
    return {
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": 1.0,
    }[settings.lr_scheduler]
