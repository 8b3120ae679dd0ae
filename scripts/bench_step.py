"""What one training step costs: RoCoFT against a frozen model, LoRA and full fine-tuning.

    python scripts/bench_step.py --repeats 10

The models have RoBERTa-base's shape and random weights, and take embeddings that require a gradient, so that every
variant sends gradients down to its inputs. "frozen" trains nothing: its step is the least that any method can cost.

FLOPs and bytes saved for backward are counted exactly (torch's FlopCounterMode; distinct storages seen by
saved_tensors_hooks, parameters and buffers left out). Seconds are medians of steps taken in turn, A B C A B C …, as
ratios to the frozen step, because absolute times drift on a shared machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from transformers import RobertaConfig, RobertaModel

from rocoft_bench import RoCoFTConfig
from rocoft_bench.tuner import RoCoFTLayer, default_targets


def base_model(layers: int, device: str) -> RobertaModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 768, "num_hidden_layers": layers, "num_attention_heads": 12, "intermediate_size": 3072}
    config = RobertaConfig(vocab_size=50265, type_vocab_size=1, max_position_embeddings=514, **shape)
    return RobertaModel(config, add_pooling_layer=False).to(device).train()


def variants(layers: int, rank: int, device: str) -> dict[str, nn.Module]:
    """The models to compare, by name."""

    def rocoft(mode: str) -> nn.Module:
        return get_peft_model(base_model(layers, device), RoCoFTConfig(rank=rank, mode=mode))

    lora_base = base_model(layers, device)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=default_targets(lora_base))
    return {
        "frozen": base_model(layers, device).requires_grad_(False),
        "rocoft row": rocoft("row"),
        "rocoft column": rocoft("column"),
        "lora r=8, all linear": get_peft_model(lora_base, lora),
        "full": base_model(layers, device),
    }


def training_step(model: nn.Module, embeddings: Tensor) -> None:
    """Forward and backward; the gradients are dropped, so that every step does the same work."""
    model(inputs_embeds=embeddings).last_hidden_state.sum().backward()
    for tensor in (embeddings, *model.parameters()):
        tensor.grad = None


def count_flops(step: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def count_saved_bytes(model: nn.Module, step: Callable[[], None]) -> int:
    """Bytes of the distinct storages that the forward pass keeps for backward, beside the model itself."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    seen: dict[int, int] = {}
    kept: list[Tensor] = []  # alive until the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return sum(seen.values())


def timed(step: Callable[[], None], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def paired_seconds(steps: dict[str, Callable[[], None]], repeats: int, device: str) -> dict[str, list[float]]:
    """Seconds of each step, taken in turn, after two rounds of warm-up that are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 2):
        for name, step in steps.items():
            elapsed = timed(step, device)
            if turn >= 2:
                seconds[name].append(elapsed)
    return seconds


def largest_extra(model: nn.Module, rank: int) -> float:
    """Trained values, indices and buffers of a matrix over rank * d, at its largest; the bound is 3."""
    ratios = []
    for layer in model.modules():
        if isinstance(layer, RoCoFTLayer):
            mode = layer.entries("default").mode
            d = layer.in_features if mode == "row" else layer.out_features
            tensors = [*layer.named_parameters(), *layer.named_buffers()]
            extra = sum(t.numel() for name, t in tensors if not name.startswith("base_layer."))
            ratios.append(extra / (rank * d))
    return max(ratios)


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    models = variants(args.layers, args.rank, args.device)
    embeddings = torch.randn(args.batch_size, args.length, 768, device=args.device, requires_grad=True)
    steps = {name: lambda model=model: training_step(model, embeddings) for name, model in models.items()}
    flops = {name: count_flops(step) for name, step in steps.items()}
    saved = {name: count_saved_bytes(models[name], step) for name, step in steps.items()}
    seconds = paired_seconds(steps, args.repeats, args.device)
    return [
        {
            "method": name,
            "trained_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "gflop": flops[name] / 1e9,
            "flops_ratio": flops[name] / flops["frozen"],
            "saved_mb": saved[name] / 1e6,
            "saved_ratio": saved[name] / saved["frozen"],
            "step_seconds": statistics.median(seconds[name]),
            "seconds_ratio": statistics.median(a / b for a, b in zip(seconds[name], seconds["frozen"], strict=True)),
            "extra_per_rank_and_width": largest_extra(model, args.rank) if "rocoft" in name else None,
        }
        for name, model in models.items()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'method':<22}{'trained':>12}{'GFLOP':>8}{'x':>7}{'saved MB':>10}{'x':>7}{'step s':>9}{'x':>7}"]
    lines += [
        f"{r['method']:<22}{r['trained_parameters']:>12,}{r['gflop']:>8.1f}{r['flops_ratio']:>7.3f}"
        f"{r['saved_mb']:>10.1f}{r['saved_ratio']:>7.3f}{r['step_seconds']:>9.3f}{r['seconds_ratio']:>7.3f}"
        for r in rows
    ]
    extra = max(r["extra_per_rank_and_width"] or 0 for r in rows)
    return "\n".join([*lines, f"x: ratio to frozen; trained values and buffers per matrix: at most {extra:.3f} r d"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens per row")
    parser.add_argument("--rank", type=int, default=3)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=10, help="timed steps of each variant")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    args = parser.parse_args()
    rows = measure(args)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
