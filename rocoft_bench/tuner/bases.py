"""What a base layer must be for some of its weight to be trained in place."""

from collections import Counter
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.quantization_utils import (
    QuantizationBackend,
    TorchaoBackend,
    get_quantization_kwargs,
    resolve_quantization_backend,
)
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from transformers.pytorch_utils import Conv1D


def tied_weights(model: nn.Module) -> set[int]:
    """The ids of parameters whose memory several modules have."""
    owned = [p for module in model.modules() for p in module._parameters.values() if p is not None]
    counts = Counter(map(_memory_of, owned))
    return {id(p) for p in owned if counts[_memory_of(p)] > 1}


def _memory_of(parameter: nn.Parameter) -> int:
    is_here = type(parameter) is nn.Parameter and not parameter.is_meta
    address: int = parameter.untyped_storage().data_ptr() if is_here else 0
    return address or id(parameter)


def is_unquantised(parameter: Tensor) -> bool:
    """Whether a parameter's numbers are its values: those of 8 bits and less want scales, also where they float."""
    return parameter.is_floating_point() and parameter.element_size() > 1


def is_more_than_a_product(base: Any) -> bool:
    """Whether a layer does not return x Wᵀ + b, so that a change of W is no change to be added to what it returns.

    An embedding does not, nor does a linear layer whose class has a forward of its own, such as Llama 4's router. (That
    of Falcon's multiplies.)
    """
    has_own_forward = isinstance(base, nn.Linear) and type(base).forward is not nn.Linear.forward
    return isinstance(base, nn.Embedding) or (has_own_forward and type(base).__name__ != "FalconLinear")


def unwrapped(module: nn.Module) -> Any:
    """The layer inside the adapters around it, or the module itself."""
    return module.get_base_layer() if isinstance(module, BaseTunerLayer) else module


def whole_weight(base: Any, name: str = "weight", dims: tuple[int, ...] = (2,)) -> Tensor:
    """The base layer's weight (d_out, d_in), or (d_in, d_out) of a `Conv1D`, or another parameter of it.

    dims: How many dimensions it may have.

    Raises:
        RuntimeError: If the weight is not here as a whole: offloaded, partitioned or sharded.
    """
    weight: Tensor = getattr(base, name)
    if elsewhere := _elsewhere(base, weight, dims):
        raise RuntimeError(
            f"the weight of a {type(base).__name__} layer is {elsewhere}, and RoCoFT reads and changes it in place: "
            "make, load and merge the adapter on a model whose targeted layers are whole and in memory, or choose "
            "other target_modules"
        )
    return weight


def _elsewhere(base: Any, weight: Tensor, dims: tuple[int, ...]) -> str | None:
    if hasattr(weight, "ds_id") and weight.dim() not in dims:
        return "partitioned by DeepSpeed ZeRO-3"
    if hasattr(weight, "full_tensor"):
        return "sharded (a DTensor, as of FSDP2 or tensor parallelism)"
    if weight.is_meta and hasattr(base, "_hf_hook"):
        return "offloaded by accelerate"
    return None if weight.dim() in dims else f"no matrix but of shape {tuple(weight.shape)} (sharded by FSDP?)"


def check_supported(model: nn.Module, name: str) -> None:
    """Check that the named module's weight can be trained in place.

    Raises:
        TypeError: If the target is no linear layer or embedding, is quantised by what gives no values back, computes
            its weight from other parameters, or is never called by the module that it belongs to.
        RuntimeError: If its weight is not here as a whole.
    """
    base, parent = unwrapped(model.get_submodule(name)), model.get_submodule(name.rpartition(".")[0])
    _check_kind(name, base, quantisation_of(base, model))
    if name.rpartition(".")[2] in bypassed_children(parent):
        raise TypeError(
            f"Target module {name} would never be trained: {type(parent).__name__} reads its weight without calling "
            "it. Leave it out of target_modules, or by exclude_modules"
        )


def _check_kind(name: str, base: Any, backend: QuantizationBackend | None) -> None:
    if backend is not None:
        gives_values_back = backend.supports_merge
        if isinstance(backend, TorchaoBackend):  # whose 4-bit weights for GPUs have no way back
            gives_values_back = gives_values_back and type(base.weight).dequantize is not Tensor.dequantize
        if not gives_values_back:
            raise TypeError(
                f"Target module {name} is quantised by {backend.backend_name}, which does not give back the values "
                "that RoCoFT starts from: quantise by bitsandbytes (NF4, int8), HQQ or torchao (Int8WeightOnlyConfig), "
                "or train a LoRA"
            )
        return
    if not isinstance(base, nn.Linear | Conv1D | nn.Embedding):
        raise TypeError(
            f"Target module {name} ({type(base).__name__}) is not supported. "
            "Currently, only `torch.nn.Linear`, `Conv1D` and `torch.nn.Embedding` are supported."
        )
    if isinstance(base, nn.Embedding) and (base.max_norm is not None or base.sparse):
        raise TypeError(f"Target module {name} has max_norm or sparse=True; RoCoFT trains embeddings without.")
    if is_parametrized(base) or base._parameters.get("weight") is None:
        raise TypeError(
            f"Target module {name} computes its weight from other parameters (weight normalisation, pruning, a "
            "parametrization), so its rows and columns cannot be trained in place: make them permanent first, e.g. by "
            "torch.nn.utils.parametrize.remove_parametrizations, or leave it out by exclude_modules"
        )
    if not is_unquantised(base.weight):
        raise TypeError(f"Target module {name} is quantised in a way that peft does not know: {base.weight.dtype}")
    whole_weight(base)


def quantisation_of(base: nn.Module, model: nn.Module) -> QuantizationBackend | None:
    """How a layer of a model is quantised, if it is."""
    options = {"get_apply_tensor_subclass": _unknown} | get_quantization_kwargs(model)
    return resolve_quantization_backend(base, **options)


def _unknown() -> Any:
    raise ValueError("the model does not say how torchao quantised it, so nothing can be merged into it: dequantize it")


def bypassed_children(parent: nn.Module) -> tuple[str, ...]:
    """Names of the linear layers whose weights a module hands to a function of its own, always or in a fast path."""
    if isinstance(parent, nn.MultiheadAttention):
        return ("out_proj",)
    if isinstance(parent, nn.TransformerEncoderLayer):
        return ("linear1", "linear2")  # in evaluation
    if isinstance(getattr(parent, "A_log", None), nn.Parameter):  # Mamba and its kin, above all by their GPU kernels
        return ("x_proj", "dt_proj", "out_proj")
    if type(parent).__name__ == "WavLMAttention":  # calls torch's multi_head_attention_forward
        return ("q_proj", "k_proj", "v_proj", "out_proj")
    if type(parent).__name__ == "LongcatFlashTopkRouter":
        return ("classifier",)
    return ()
