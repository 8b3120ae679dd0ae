"""Choosing rows or columns by score, from real activations."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn

from rocoft_bench.tuner.entries import started
from rocoft_bench.tuner.layer import RoCoFTLayer
from rocoft_bench.tuner.model import RoCoFTModel
from rocoft_bench.tuner.selection import wanda_scores


def needs_calibration(model: PeftModel | RoCoFTModel, adapter_name: str = "default") -> bool:
    """Whether an adapter has a scored selection ("max", "min", "mixed") that has been neither made nor loaded."""
    return any(layer.rocoft_adapter[adapter_name].needs_calibration for layer in _layers(model, adapter_name))


@torch.no_grad()
def calibrate(
    model: PeftModel | RoCoFTModel, batches: Iterable[Mapping[str, Tensor]], adapter_name: str = "default"
) -> None:
    """Choose the rows or columns of a scored selection ("max", "min", "mixed") from real activations (Section 6).

    Runs the frozen model once over `batches` (keyword arguments of its forward, on its device) and keeps one running
    sum of squares (d_in,) per layer, never the activations. Every position that a layer sees counts, but padding that
    an `attention_mask` (B, L) tells of, also a `decoder_attention_mask`, is left away: such a batch goes through row by
    row. Call it once, before the optimizer's first step. Merged adapters stay merged.

    Raises:
        ValueError: If the adapter does not exist or needs no calibration, or a layer saw none of the `batches`.
    """
    if not needs_calibration(model, adapter_name):
        raise ValueError(f"adapter {adapter_name!r} does not exist or needs no calibration")
    layers = _layers(model, adapter_name)
    with _frozen_in_eval_mode(model):
        norms = input_norms(model, layers, batches)
        for layer in layers:
            entries = layer.entries(adapter_name)
            scores = {mode: wanda_scores(layer.matrix, norms[layer], mode) for mode in ("row", "column")}
            entries.indices.copy_(layer.chosen(adapter_name, scores, entries.config.selection))
            entries.weight.copy_(started(layer._read(adapter_name), entries.config))


def _layers(model: nn.Module, adapter_name: str) -> list[RoCoFTLayer]:
    return [m for m in model.modules() if isinstance(m, RoCoFTLayer) and adapter_name in m.rocoft_adapter]


def input_norms(
    model: nn.Module, layers: Sequence[nn.Module], batches: Iterable[Mapping[str, Tensor]]
) -> dict[nn.Module, Tensor]:
    """||X_j||_2 of each layer's input features over all batches, in float32: {layer: (d_in,)}.

    Raises: ValueError if a layer saw none of the `batches`.
    """
    squares: dict[nn.Module, Tensor] = {}

    def accumulate(layer: nn.Module, args: tuple[Any, ...]) -> None:
        total = args[0].detach().float().reshape(-1, args[0].shape[-1]).square().sum(0)
        squares[layer] = squares[layer] + total if layer in squares else total

    is_encoder_decoder = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    handles = [layer.register_forward_pre_hook(accumulate) for layer in layers]
    try:
        for batch in batches:
            for part in _without_padding(batch, is_encoder_decoder):
                model(**part)
    finally:
        for handle in handles:
            handle.remove()
    if len(squares) < len(layers):
        raise ValueError(f"the calibration batches reached {len(squares)} of {len(layers)} layers: pass at least one")
    return {layer: total.sqrt() for layer, total in squares.items()}


def _without_padding(batch: Mapping[str, Any], is_encoder_decoder: bool) -> Iterator[Mapping[str, Any]]:
    """The rows (1, their own length) of a batch that has padding, or else the batch."""
    masks = {
        key: mask.bool()
        for key, value in batch.items()
        if isinstance(value, Tensor) and (mask := _mask_of(key, batch, is_encoder_decoder)) is not None
        if mask.dim() == 2 and value.shape[:2] == mask.shape
    }
    if all(mask.all() for mask in masks.values()):
        yield batch
        return
    rows = max(len(mask) for mask in masks.values())
    for row in range(rows):
        own = dict(batch)
        for key, value in batch.items():
            if isinstance(value, Tensor) and value.dim() > 0 and len(value) == rows:
                own[key] = value[row : row + 1]
        yield own | {key: own[key][:, mask[row]] for key, mask in masks.items()}


def _mask_of(key: str, batch: Mapping[str, Any], is_encoder_decoder: bool) -> Tensor | None:
    """What says which positions of an input are no padding."""
    if key == "labels" and is_encoder_decoder:  # which makes of them what its decoder is given
        return batch[key] != -100
    return batch.get("decoder_attention_mask" if key.startswith("decoder_") else "attention_mask")


@contextmanager
def _frozen_in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Adapters off, merged ones too, and evaluation mode on; afterwards every module is as it was."""
    with ExitStack() as afterwards:
        for module in model.modules():
            afterwards.callback(setattr, module, "training", module.training)
            if isinstance(module, RoCoFTLayer):
                afterwards.enter_context(module.frozen())
        model.eval()
        yield
