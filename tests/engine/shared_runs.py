"""Trains small models in one process of two, or alone; `test_processes.py` compares what is found."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from datasets import Dataset
from peft import get_peft_model
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM

from rocoft_bench import RoCoFTConfig
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.accelerator import make_accelerator
from rocoft_bench.engine.batching import NO_LABEL, padding_collate
from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.engine.launchers import OWN_LAUNCH
from rocoft_bench.engine.observer import Observer
from rocoft_bench.engine.prediction import DecoderText, Evaluation, Evaluator
from rocoft_bench.engine.processes import Processes
from rocoft_bench.engine.trainer import Trainer

ROWS = [[3 + (7 * i + 5 * j) % 50 for j in range(3 + i % 4)] for i in range(13)]
"""13 rows of 3 to 6 tokens."""


class Padding:
    """All that batches need of a tokenizer."""

    pad_token_id = pad_token_type_id = 0


class Pull(Hooks):
    """An extra loss, so that one counted per process would show."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]

    def extra_loss(self) -> Tensor:
        return 0.1 * torch.stack([p.square().sum() for p in self.parameters]).sum()


class ShardingOnCPU(Accelerator):
    """What accelerate does for FSDP2 on GPUs, which it does not on CPUs: shards each block and the rest."""

    def prepare(self, model: Any, optimizer: Any) -> Any:  # type: ignore[override]
        names = {parameter: name for name, parameter in model.named_parameters()}
        for block in model.base_model.model.model.layers:
            fully_shard(block)
        fully_shard(model)
        for group in optimizer.param_groups:
            group["params"] = [model.get_parameter(names[parameter]) for parameter in group["params"]]
        return model, AcceleratedOptimizer(optimizer)

    @contextmanager
    def no_sync(self, model: Any) -> Iterator[None]:
        model.set_requires_gradient_sync(False)
        yield
        model.set_requires_gradient_sync(True)


class CrashAt(Observer):
    def __init__(self, step: int | None) -> None:
        self.step = step

    def step_done(self, step: int) -> None:
        if step == self.step:
            raise RuntimeError("crash")


def rocoft_model(mode: str) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    base = LlamaForCausalLM(LlamaConfig(vocab_size=65, pad_token_id=0, eos_token_id=2, **sizes))
    return get_peft_model(base, RoCoFTConfig(task_type="CAUSAL_LM", mode=mode, rank=3))


def trained(
    folder: Path,
    processes: Processes,
    accelerator: Accelerator,
    model: Any,
    extra: bool,
    crash: int | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Losses, trained values and generated answers of a small training, with an extra loss or without."""
    folder.mkdir(exist_ok=True)
    labels = [[token if j > i % 3 else NO_LABEL for j, token in enumerate(row)] for i, row in enumerate(ROWS)]
    rows = Dataset.from_dict({"input_ids": ROWS, "labels": labels})
    predictor = DecoderText(Padding(), {"max_new_tokens": 4})

    def score(answers: list[Any]) -> Evaluation:
        return Evaluation({"tokens": sum(map(len, answers)) / len(answers)}, [{"ids": row.tolist()} for row in answers])

    size = sum(p.numel() for p in model.parameters())
    training = TrainingConfig(**{"epochs": 2, "learning_rate": 0.01, "batch_size": 4, **settings})
    trainer = Trainer(
        model=model,
        examples=rows,
        collate=padding_collate(Padding()),
        evaluator=Evaluator(rows, predictor, score, 5, accelerator, Observer(), processes),
        settings=training,
        seed=0,
        accelerator=accelerator,
        workdir=folder,
        observer=CrashAt(crash),
        make_hooks=lambda total_steps: Pull(model) if extra else Hooks(),
        processes=processes,
    )
    parameters = dict(model.named_parameters())
    result = trainer.run()
    frozen = [p for name, p in model.named_parameters() if ".layers." in name and not p.requires_grad]
    return {
        "losses": [entry["loss"] for entry in result.state.history if "loss" in entry],
        "metrics": [entry["metrics"] for entry in result.state.history if "metrics" in entry],
        "answers": result.evaluation.predictions,
        "values": {n: p.detach().tolist() for n, p in model.named_parameters() if p.requires_grad},
        "own_share": sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in parameters.values())
        / size,
        "frozen_stay_shared": all(isinstance(p, DTensor) for p in frozen),
        "steps": result.state.step,
    }


def train_on_rank(rank: int, count: int, port: int, folder: Path) -> None:
    """In an environment as a launcher makes it. The first of the processes leaves FOLDER/found.json."""
    torch.set_num_threads(1)
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": count, "RANK": rank, "LOCAL_RANK": rank}
    launcher = {"ACCELERATE_USE_CPU": "true", OWN_LAUNCH: "1", **(meeting if count > 1 else {})}
    os.environ.update({name: str(value) for name, value in launcher.items()})
    processes = Processes.joined()
    found: dict[str, Any] = {}
    for accumulation in (1, 2, 3):
        accelerator = make_accelerator("fp32")
        name = f"accumulation {accumulation}"
        model = rocoft_model("row")
        found[name] = trained(folder / name, processes, accelerator, model, True, gradient_accumulation=accumulation)
    for mode in ("row", "column"):
        sharding = ShardingOnCPU(cpu=True) if processes.count > 1 else Accelerator(cpu=True)
        settings: dict[str, Any] = {"gradient_accumulation": 3, "keep": "best", "checkpoint_seconds": 1e-6}
        with suppress(RuntimeError):
            trained(folder / mode, processes, sharding, rocoft_model(mode), False, crash=3, **settings)
        model = rocoft_model(mode)
        found[f"sharded {mode}"] = trained(folder / mode, processes, sharding, model, False, **settings)
    if processes.is_main:
        (folder / "found.json").write_text(json.dumps(found))
