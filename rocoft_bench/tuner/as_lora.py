"""A RoCoFT adapter as the LoRA adapter that it is: r changed rows or columns are a product of rank r."""

from collections import Counter
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.tuners_utils import _find_minimal_target_modules
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import one_hot
from transformers.pytorch_utils import Conv1D

from rocoft_bench.tuner.config import RoCoFTConfig
from rocoft_bench.tuner.layer import RoCoFTLayer
from rocoft_bench.tuner.parameter_wrapper import ParamWrapper
from rocoft_bench.tuner.saved_values import PREFIX


def save_as_lora(
    model: Any,
    folder: str | Path,
    adapter_name: str = "default",
    save_embedding_layers: bool | Literal["auto"] = "auto",
) -> None:
    """Write an adapter of a `PeftModel` as a LoRA adapter of peft's, which computes the same without this package.

    A head and other modules that are saved in full stay so; trained biases become those of LoRA's B (`lora_bias`).
    save_embedding_layers: as in `PeftModel.save_pretrained`.

    Raises:
        ValueError: If there is no such RoCoFT adapter, or it trains single entries, which have no low rank.
        RuntimeError: If its rows or columns have not been chosen yet.
    """
    config = getattr(model, "peft_config", {}).get(adapter_name)
    if not isinstance(config, RoCoFTConfig):
        raise ValueError(f"the model has no RoCoFT adapter {adapter_name!r}")
    if any(isinstance(module, ParamWrapper) and adapter_name in module.rocoft_adapter for module in model.modules()):
        raise ValueError(
            "the adapter trains embeddings, target_parameters or layers with a forward of their own, which are not "
            "exported: merge them instead"
        )
    if config.mode == "random":
        raise ValueError("single entries (mode random) have no low rank, so they are no LoRA: merge them instead")
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, RoCoFTLayer) and adapter_name in module.rocoft_adapter
    }
    saved = get_peft_model_state_dict(model, adapter_name=adapter_name, save_embedding_layers=save_embedding_layers)
    # cloned, since safetensors takes no two that share their memory, as tied ones do
    tensors = {name: value.clone() for name, value in saved.items() if ".rocoft_adapter." not in name}
    with_bias = any(layer.entries(adapter_name).bias is not None for layer in layers.values())
    ranks: dict[str, int] = {}
    for name, layer in layers.items():
        factors = _factors(layer, adapter_name, with_bias)
        ranks[name.removeprefix(PREFIX)] = len(factors["A.weight"])
        tensors |= {f"{name}.lora_{part}": value.contiguous() for part, value in factors.items()}
    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file(tensors, Path(folder) / SAFETENSORS_WEIGHTS_NAME, metadata={"format": "pt"})
    transposed = any(isinstance(layer.get_base_layer(), Conv1D) for layer in layers.values())
    _lora_config(config, model, ranks, transposed, with_bias).save_pretrained(str(folder))


@torch.no_grad()
def _factors(layer: RoCoFTLayer, adapter_name: str, with_bias: bool) -> dict[str, Tensor]:
    """A (r, d_in) and B (d_out, r) with B A the change of W (d_out, d_in), and the change of the bias (d_out,).

    One factor is the change itself, the other selects: it is 0 but for one 1 for each changed row or column.
    """
    layer._check_calibrated([adapter_name])
    entries = layer.entries(adapter_name)
    with layer.frozen():
        change = layer.delta(adapter_name)
        bias = change.new_zeros(layer.out_features) if entries.bias is None else entries.bias - layer.bias
    shape, indices = layer.matrix.shape, entries.all_indices.long()
    if entries.config.mode == "row_column":
        a, b = _of_rows_and_columns(change, indices, shape)
    elif entries.mode == "row":
        a, b = change, one_hot(indices, shape[0]).to(change).t()
    else:
        a, b = one_hot(indices, shape[1]).to(change), change.t()
    return {"A.weight": a, "B.weight": b} | ({"B.bias": bias} if with_bias else {})


def _of_rows_and_columns(change: Tensor, indices: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """A (2 r, d_in) and B (d_out, 2 r): the rows whole, and the columns without what is in those rows."""
    dense, trained = (change.new_zeros(shape.numel()).index_copy(0, indices, v) for v in (change, change * 0 + 1))
    dense, trained = dense.view(shape), trained.view(shape) > 0
    rows, columns = (trained.all(dim).nonzero().flatten() for dim in (1, 0))
    a = torch.cat([dense[rows], one_hot(columns, shape[1]).to(change)])
    b = torch.cat([one_hot(rows, shape[0]).to(change).t(), dense.index_fill(0, rows, 0)[:, columns]], dim=1)
    return a, b


def _lora_config(
    config: RoCoFTConfig, model: nn.Module, ranks: dict[str, int], transposed: bool, with_bias: bool
) -> LoraConfig:
    """Alpha is the rank everywhere, so that nothing is scaled."""
    rank = Counter(ranks.values()).most_common(1)[0][0]
    others = {name: other for name, other in ranks.items() if other != rank}
    names = {name.removeprefix(PREFIX) for name, _ in model.named_modules()}
    made = LoraConfig(
        r=rank,
        lora_alpha=rank,
        rank_pattern=others,
        alpha_pattern=dict(others),
        target_modules=sorted(_find_minimal_target_modules(set(ranks), names - set(ranks))),
        fan_in_fan_out=transposed,
        lora_bias=with_bias,
        modules_to_save=config.modules_to_save,
        trainable_token_indices=config.trainable_token_indices,
        ensure_weight_tying=config.ensure_weight_tying,
        task_type=config.task_type,
        base_model_name_or_path=config.base_model_name_or_path,
        revision=config.revision,
        inference_mode=True,
    )
    for setting, value in vars(made).items():
        if isinstance(value, set):  # which peft would write in an order that each process has of its own
            setattr(made, setting, sorted(value))
    return made
