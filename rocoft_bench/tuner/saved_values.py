"""Saved values of adapters: whether they fit the base model, and putting others in their place."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.utils import load_peft_weights
from torch import Tensor, nn

from rocoft_bench.tuner.entries import TrainedEntries
from rocoft_bench.tuner.layer import Linear, RoCoFTLayer

HINT = "is it the model, and the version of it, that the adapter was trained on (base_model_name_or_path)?"
PREFIX = "base_model.model."
"""What PEFT puts before the names of a model's modules."""
KEPT = {"kept_indices": "kept_values", "kept_values": "kept_indices"}
"""Parts of which there are any number, as many as of the other."""


def make_room(model: nn.Module, adapter_name: str, saved: Mapping[str, Tensor]) -> None:
    """Check saved values, by their names in a file, against the layers of an adapter that has been made for them; give
    these the kept ones, of which there may be any number.

    Raises:
        ValueError: If a layer has no place for them; the message names the first such layer. Nothing is changed.
    """
    layers = {_plain(name): m for name, m in model.named_modules() if isinstance(m, RoCoFTLayer)}
    parts: dict[str, dict[str, Tensor]] = {}  # by layer
    for key, value in saved.items():
        name, found, part = _plain(key).partition(".rocoft_adapter.")
        if found:
            parts.setdefault(name, {})[part] = value
    for name, values in parts.items():
        layer = layers.get(name)
        if layer is None or adapter_name not in layer.rocoft_adapter:
            raise ValueError(f"the adapter trains {name}, which the base model has not, or not as a target: {HINT}")
        for part in values:
            _check_part(name, part, values, layer, layer.entries(adapter_name))
    for name, values in parts.items():
        if "weight" in values:
            layers[name].entries(adapter_name).keep(*map(values.get, KEPT))


def _plain(name: str) -> str:
    """Of a module, without what PEFT, torch.compile and FSDP put before and between."""
    return re.sub(r"_orig_mod\.|_fsdp_wrapped_module\.", "", name).removeprefix(PREFIX)


def _check_part(name: str, part: str, values: dict[str, Tensor], layer: RoCoFTLayer, entries: TrainedEntries) -> None:
    value, own = values[part], getattr(entries, part, None)
    shape = own.shape if isinstance(own, Tensor) else None
    if part in KEPT and isinstance(layer, Linear):
        count = values[KEPT[part]].shape[:1] if KEPT[part] in values else torch.Size((0,))
        shape = count + entries.weight.shape[1:] if part == "kept_values" else count
    if shape is None:
        raise ValueError(f"the adapter has a {part} of {name}, for which its configuration has no use")
    if value.shape != shape:
        raise ValueError(
            f"the adapter's {part} of {name} has shape {tuple(value.shape)}, the base model's layer wants "
            f"{tuple(shape)}: {HINT}"
        )
    if part.endswith("_indices"):
        size = {"row": layer.out_features, "column": layer.in_features}.get(entries.config.mode)
        size = size or layer.matrix.numel()
        least = 0 if part in KEPT else -1  # of a choice that is still to be made
        if value.numel() and not least <= int(value.min()) <= int(value.max()) < size:
            raise ValueError(f"the adapter's {part} of {name} are not all below {size}, which is how many there are")


@torch.no_grad()
def hotswap(model: PeftModel, folder: str | Path, adapter_name: str = "default") -> None:
    """Put a saved adapter's values and selection in the place of those of a loaded one of the same shapes.

    Nothing is made anew, so a compiled model (`torch.compile`) need not be compiled again.

    Raises:
        ValueError: If the saved adapter has other layers or shapes, or the loaded one is merged; nothing is changed.
    """
    model = getattr(model, "_orig_mod", model)
    layers = [m for m in model.modules() if isinstance(m, RoCoFTLayer)]
    if any(adapter_name in layer.merged_adapters for layer in layers):
        raise ValueError(f"adapter {adapter_name!r} is merged: call model.unmerge_adapter() first")
    saved = load_peft_weights(str(folder), device="cpu")
    own = get_peft_model_state_dict(model, adapter_name=adapter_name)
    for name in sorted(own.keys() | saved.keys()):
        if name not in own or name not in saved:
            raise ValueError(f"{folder} and adapter {adapter_name!r} are of other layers or modes, as {name} shows")
        if own[name].shape != saved[name].shape:
            shapes = tuple(saved[name].shape), tuple(own[name].shape)
            raise ValueError(f"{name} has shape {shapes[0]} in {folder} and {shapes[1]} in adapter {adapter_name!r}")
    set_peft_model_state_dict(model, saved, adapter_name=adapter_name)
