"""One method at work in a bench: a model with random weights that others share, and its training step."""

import copy
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from rocoft_bench.config import TrainingConfig
from rocoft_bench.efficiency import single_layer
from rocoft_bench.efficiency.bench_settings import FROZEN, BenchSettings
from rocoft_bench.efficiency.reference_methods import Rebuilt, method_of
from rocoft_bench.efficiency.step_counts import GpuMemory, StepCounts, bytes_of, count_step
from rocoft_bench.engine.causal_loss import keep_logits_only
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.errors import UserError, reason
from rocoft_bench.models import AUTO_CLASSES
from rocoft_bench.models.architectures import configuration
from rocoft_bench.models.parameter_counts import count_parameters

STEPS_OF_A_TRAINING = 10_000
"""What a method is told whose rank or rate depends on the length of training: it is measured at its start."""


def random_model(bench: BenchSettings, device: torch.device) -> nn.Module:
    """The model of a bench with random weights; nothing is downloaded. Raises: UserError if it cannot be built."""
    name, changes = bench.model["name"], {key: value for key, value in bench.model.items() if key != "name"}
    if bench.is_of_layer:
        name, changes = single_layer.in_a_block(**changes)
    torch.manual_seed(bench.seed)
    config, kind = configuration(name, changes), getattr(transformers, AUTO_CLASSES[bench.task_kind])
    try:
        with device:
            model: nn.Module = kind.from_config(config, dtype=getattr(torch, bench.dtype), trust_remote_code=False)
    except Exception as error:  # the architecture is not one of the kind, or sizes do not go together
        raise UserError(
            f"{name}: no {bench.task_kind} model can be built of its configuration ({reason(error)})"
        ) from None
    model.enable_input_require_grads()  # type: ignore[operator] # so that every method sends gradients down to the inputs
    return model


class BenchSubject:
    """A method on its copy of the model, ready to take steps. The values of the copy's parameters are the model's own:
    many fit into memory.
    """

    def __init__(self, bench: BenchSettings, base: nn.Module) -> None:
        self.bench = bench
        self.method = method_of(bench.method, bench.task_kind, bench.model["name"])
        model: Any = copy.deepcopy(base, {id(p): nn.Parameter(p.data, p.requires_grad) for p in base.parameters()})
        self.method.check_supports(bench.task_kind, model.config.model_type)
        training = TrainingConfig(learning_rate=1e-6, gradient_checkpointing=bench.gradient_checkpointing)
        self.method.check_training(training)
        if bench.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.model: Any = self.method.apply(model, bench.task_kind, bench.seed).train()
        if bench.task_kind == "causal_lm":  # as in a run
            keep_logits_only(self.model)
        self.plain: Any = single_layer.alone(self.model) if bench.is_of_layer else self.model
        """What the passes are of."""
        if bench.is_of_layer and bench.method["name"] != FROZEN and not self._trained():
            raise UserError(f"{self.method.label} trains nothing of the layer, which is the ffn_in of a block")
        for parameter in filter(lambda p: p.requires_grad, self.model.parameters()):
            parameter.data = parameter.data.clone()  # its steps are not to change what others share
        self.device = next(self.model.parameters()).device
        self.hooks = self.method.hooks(self.model, training, STEPS_OF_A_TRAINING)
        self.optimizer = make_optimizer(self.model, training, self.hooks) if self._trained() else None
        if self.optimizer:
            self.hooks.started(self.optimizer)
        made_up = single_layer.made_up_input if bench.is_of_layer else made_up_batch
        self.batch = made_up(bench, self.model.config, self.device)
        self.run = torch.compile(self.plain) if bench.compile else self.plain
        self.steps = 0
        self.gpu_memory = GpuMemory(self.device)

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    @property
    def targeted_layers(self) -> int:
        """Layers that the method has put its own in the place of."""
        return sum(isinstance(module, BaseTunerLayer | Rebuilt) for module in self.model.modules())

    def passes(self) -> None:
        """The forward and backward passes of a step."""
        mixed = torch.autocast(self.device.type, torch.bfloat16) if self.bench.precision == "bf16" else nullcontext()
        for _ in range(self.bench.gradient_accumulation):
            with mixed:
                loss = self.run(**self.batch).loss / self.bench.gradient_accumulation
            loss.backward()
        if (extra := self.hooks.extra_loss()) is not None:
            extra.backward()

    def step(self) -> None:
        self.steps += 1
        self.hooks.before_step(self.steps)
        self.passes()
        self.hooks.after_backward(self.steps)
        if self.optimizer:
            self.optimizer.step()
            self.hooks.after_step(self.steps)
        self.model.zero_grad(set_to_none=True)

    def timed_step(self) -> float:
        with self.gpu_memory.watching():
            return self._seconds(self.step)

    def _seconds(self, action: Callable[[], Any]) -> float:
        self._wait()
        started = time.perf_counter()
        action()
        self._wait()
        return time.perf_counter() - started

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def counts(self) -> StepCounts:
        """Of the model as it is, not compiled, after a first step: what is looked up once is not counted."""
        if not self.steps:
            self.step()
        run, self.run = self.run, self.plain
        found = count_step(self.plain, self.passes)
        self.run = run
        self.model.zero_grad(set_to_none=True)
        return found

    def parameters(self) -> dict[str, int]:
        if self.bench.is_of_layer:
            return single_layer.parameters(self.plain, self.bench.model["d_in"], self.bench.model["d_out"])
        counts = count_parameters(self.model, has_head=self.bench.task_kind == "sequence_classification")
        return {"adapter": counts.adapter, "head": counts.head, "total": counts.total}

    def memory(self, counts: StepCounts) -> dict[str, Any]:
        """MiB of the weights, and of what training adds, after a step has been taken; on a GPU its measured peak."""
        gradients, state = sum(p.numel() * p.itemsize for p in self._trained()), self._state_bytes()
        kind = "counted: weights, gradients, optimizer state, tensors kept for backward"
        added = gradients + state + counts.saved_bytes
        if self.gpu_memory.is_counted:
            kind = "weights and optimizer state counted, and what a step allocates on the GPU"
            self.gpu_memory.give_back()
            self.timed_step()
            added = self.gpu_memory.allocated[-1] + state
        found = {
            "model_memory_mib": self._weight_bytes(),
            "gradients_mib": gradients,
            "optimizer_state_mib": state,
            "optimization_memory_mib": added,
            "peak_memory_mib": self._weight_bytes() + added,
        }
        return {**{name: value / 2**20 for name, value in found.items()}, "peak_memory_kind": kind}

    def memory_over_steps(self) -> dict[str, float]:
        """MiB, on a GPU, of the steps that were taken since the first."""
        return self.gpu_memory.over_steps(held=self._weight_bytes() + self._state_bytes())

    def _weight_bytes(self) -> int:
        return bytes_of([*self.plain.parameters(), *self.plain.buffers()])

    def _state_bytes(self) -> int:
        states = self.optimizer.state.values() if self.optimizer else ()
        return bytes_of(value for each in states for value in each.values() if isinstance(value, Tensor))

    def adapter_bytes(self) -> int | None:
        """Of the files that the trained values are saved in."""
        if not self._trained() or self.bench.is_of_layer:
            return None
        with TemporaryDirectory() as folder:
            self.method.save(self.model, Path(folder))
            return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())

    def merge_and_decode(self) -> dict[str, float]:
        """Seconds of merging, and of generating tokens before and after; the subject is of no use afterwards."""
        found: dict[str, float] = {}
        if self.bench.decode_tokens and self.bench.task_kind == "causal_lm":
            found["decode_seconds"] = self._decoding()
        if self.method.mergeable and self._trained():
            found["merge_seconds"] = self._seconds(self._merge)
            if "decode_seconds" in found:
                found["merged_decode_seconds"] = self._decoding()
        return found

    def _merge(self) -> None:
        self.model = self.method.merge(self.model)

    def _decoding(self) -> float:
        """The fastest of three times: what is added to it by others is noise."""
        self.model.eval()
        prompt = {"input_ids": self.batch["input_ids"][:1, :8], "attention_mask": self.batch["attention_mask"][:1, :8]}
        count = self.bench.decode_tokens
        options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0}
        return min(self._seconds(lambda: self.model.generate(**prompt, **options)) for _ in range(3))


def made_up_batch(bench: BenchSettings, config: Any, device: torch.device) -> dict[str, Tensor]:
    """Rows of random tokens, all of one length, and labels."""
    generator = torch.Generator().manual_seed(bench.seed)
    shape = (bench.batch_size, bench.sequence_length)
    ids = torch.randint(5, config.vocab_size, shape, generator=generator)
    labels = ids if bench.task_kind != "sequence_classification" else torch.arange(bench.batch_size) % 2
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return {key: value.to(device) for key, value in batch.items()}
