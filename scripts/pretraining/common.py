"""What the recipes share: a byte-level BPE, the training loop, and saving. Nothing here knows an architecture."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_BYTES = 8_000_000
"""What a model's safetensors file may take."""


def train_tokenizer(texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str]) -> Tokenizer:
    """Train a byte-level BPE in which every digit, and every line break with its indentation, is cut off.

    Text that is tokenized up to the end of an indentation has the tokens that it has within a longer text.

    Args:
        texts: What to count. Words that must become single tokens have to occur a few dozen times.
        vocab_size: Size with bytes and special tokens; fewer when the texts have no more pairs to merge.
        special_tokens: They get the first ids, in this order.

    Returns:
        A tokenizer without post-processing: it adds no special tokens yet.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n+ *"), behavior="isolated"),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def pretrain(
    model: PreTrainedModel,
    batches: Iterator[Mapping[str, Tensor]],
    *,
    steps: int,
    lr: float,
    log_path: Path,
    header: Mapping[str, Any],
    warmup: int = 200,
    weight_decay: float = 0.05,
    bf16: bool = False,
    log_every: int = 50,
    append: bool = False,
) -> None:
    """Train all parameters with AdamW: linear warm-up, then a cosine down to a twentieth of the rate.

    Args:
        model: Called as `model(**batch)`; its `loss` is minimised.
        batches: At least `steps` of them, each with its labels.
        steps: Optimizer steps.
        lr: The highest learning rate.
        log_path: JSON Lines: one header, then `step`, `loss` (mean since the last line), `lr`, `seconds` so far.
        header: What the first line says besides sizes and versions, such as the seed.
        warmup: Steps until the rate is highest.
        weight_decay: Decoupled; for matrices only.
        bf16: Whether matrix products run in bfloat16; weights and moments stay in float32.
        log_every: Steps between lines.
        append: Whether the log keeps what it has, for a second phase of training.
    """
    optimizer = torch.optim.AdamW(_groups(model, weight_decay), lr=lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, warmup))
    log_path.parent.mkdir(parents=True, exist_ok=True)
    model.train()
    start, total = time.perf_counter(), 0.0
    with log_path.open("a" if append else "w", encoding="utf-8") as log:
        _write(log, {**header, "steps": steps, "lr": lr, "bf16": bf16, **_sizes(model), **_versions()})
        for step in range(1, steps + 1):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = model(**next(batches)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rate = schedule.get_last_lr()[0]
            schedule.step()
            optimizer.zero_grad()
            total += loss.item()
            if step % log_every == 0 or step == steps:
                mean = total / ((step - 1) % log_every + 1)
                seconds = round(time.perf_counter() - start, 1)
                _write(log, {"step": step, "loss": round(mean, 4), "lr": round(rate, 7), "seconds": seconds})
                total = 0.0
    model.eval()


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write model and tokenizer as `from_pretrained` reads them: weights stored in float16, loaded in float32.

    Raises:
        ValueError: If the weights take more than MAX_BYTES.
    """
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config_path = folder / "config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    config_path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    size = (folder / "model.safetensors").stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{folder}/model.safetensors has {size:,} bytes; at most {MAX_BYTES:,} may be shipped")


def _groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, Any]]:
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _rate(step: int, steps: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def _sizes(model: PreTrainedModel) -> dict[str, int]:
    return {"parameters": model.num_parameters(), "vocab_size": model.config.vocab_size}


def _versions() -> dict[str, str]:
    packages = {"torch": torch, "transformers": transformers, "tokenizers": tokenizers}
    return {"python": platform.python_version(), **{name: module.__version__ for name, module in packages.items()}}


def _write(log: Any, line: Mapping[str, Any]) -> None:
    log.write(json.dumps(line) + "\n")
    log.flush()
