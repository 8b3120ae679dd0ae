"""The shapes of a model, read from the model itself or from its configuration."""

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError
from rocoft_bench.models.architectures import on_meta
from rocoft_bench.models.limits import positions
from rocoft_bench.models.parameter_counts import head_parameter_names, is_bias, is_norm
from rocoft_bench.models.pretrained import ATTENTION_DROPOUT, AUTO_CLASSES, HIDDEN_DROPOUT, load_config, locate, reading
from rocoft_bench.models.shapes import ForwardShapes, LinearShape, ModelShapes

ACTIVATION = ("hidden_act", "activation_function", "activation", "dense_act_fn")


def block_linears(model: nn.Module) -> list[LinearShape]:
    """The linear layers inside the model's transformer blocks, in order. The model may be on the meta device."""
    from rocoft_bench.tuner import default_targets

    return [_linear_shape(name, model.get_submodule(name)) for name in default_targets(model)]


def _linear_shape(name: str, module: Any) -> LinearShape:
    d_out, d_in = module.weight.t().shape if isinstance(module, Conv1D) else module.weight.shape
    return LinearShape(name, d_in, d_out, module.bias is not None)


def shapes_of(model: Any, has_head: bool) -> ModelShapes:
    """The shapes of a model that no method has been applied to; it may be on the meta device."""
    heads = head_parameter_names(model) if has_head else set()
    body = {name: p.numel() for name, p in model.named_parameters() if name not in heads}
    norms = [module for module in model.modules() if is_norm(module)]
    linears = tuple(block_linears(model))
    found = (_linear_shape(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    others = [linear for linear in found if linear not in linears]
    return ModelShapes(
        model_type=model.config.model_type,
        hidden_size=model.config.hidden_size,
        is_encoder_decoder=bool(model.config.is_encoder_decoder),
        linears=linears,
        outer_linears=tuple(linear for linear in others if f"{linear.name}.weight" not in heads),
        norm_sizes=tuple(sum(p.numel() for p in norm.parameters()) for norm in norms),
        biases=sum(size for name, size in body.items() if is_bias(name)),
        total=sum(body.values()),
        tensors=len(body),
        head=sum(p.numel() for name, p in model.named_parameters() if name in heads),
        head_linears=tuple(linear for linear in others if f"{linear.name}.weight" in heads),
        forward=_forward_shapes(model),
    )


def _forward_shapes(model: Any) -> ForwardShapes:
    config = model.config
    return ForwardShapes(
        vocab_size=config.vocab_size,
        longest=positions(model),
        heads=config.num_attention_heads,
        fused_attention=config._attn_implementation == "sdpa",
        relative_columns=_relative_columns(config),
        activation=_first_set(config, ACTIVATION),
        hidden_dropout=_first_set(config, HIDDEN_DROPOUT),
        attention_dropout=_first_set(config, ATTENTION_DROPOUT),
    )


def _first_set(config: Any, names: tuple[str, ...]) -> Any:
    """The first of some fields that a configuration has: architectures call the same thing by different names."""
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


def _relative_columns(config: Any) -> int:
    """DeBERTa: for each of its terms of content and position, a score for each distance to the left and the right."""
    terms = getattr(config, "pos_att_type", None) or ()
    if not terms:
        return 0
    buckets = config.position_buckets if config.position_buckets > 0 else config.max_relative_positions
    return len(terms) * 2 * buckets


def local_shapes(model: ModelConfig, task_kind: str, has_head: bool) -> ModelShapes | None:
    """The shapes of a model in a folder or in the hub's cache; None if its configuration is not there, or damaged.

    Raises: UserError if the name is neither a folder with a saved model nor a hub id.
    """
    source = locate(model)
    try:
        config = load_config(source, model.name, local_files_only=True)
        with reading(source, model.name, "its config.json"):
            return shapes_of(on_meta(config, AUTO_CLASSES[task_kind]), has_head)
    except (OSError, ValueError, UserError):
        return None  # loading the model will say what is wrong with it
