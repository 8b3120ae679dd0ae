"""Counting parameters: what a method trains, the adapter and the head apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError
from rocoft_bench.models.architectures import on_meta
from rocoft_bench.models.limits import positions
from rocoft_bench.models.pretrained import AUTO_CLASSES, load_config, locate, reading
from rocoft_bench.models.shapes import ForwardShapes, LinearShape, ModelShapes

HIDDEN_DROPOUT = ("hidden_dropout_prob", "hidden_dropout", "resid_pdrop", "dropout", "dropout_rate")
ATTENTION_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop", "dropout_rate")
ACTIVATION = ("hidden_act", "activation_function", "activation", "dense_act_fn")


@dataclass(frozen=True)
class ParameterCounts:
    """`adapter_*` and `head` are trained; `total` is the whole model, with what the method added."""

    adapter_weights: int
    adapter_biases: int
    head: int
    trainable: int
    total: int

    @property
    def adapter(self) -> int:
        return self.adapter_weights + self.adapter_biases

    def as_record(self) -> dict[str, int]:
        return {"adapter": self.adapter, **asdict(self)}


def block_linears(model: nn.Module) -> list[LinearShape]:
    """The linear layers inside the model's transformer blocks, in order. The model may be on the meta device."""
    from rocoft_bench.tuner import default_targets

    shapes = []
    for name in default_targets(model):
        module: Any = model.get_submodule(name)
        matrix = module.weight.t() if isinstance(module, Conv1D) else module.weight
        d_out, d_in = matrix.shape
        shapes.append(LinearShape(name, d_in, d_out, module.bias is not None))
    return shapes


def shapes_of(model: Any, has_head: bool) -> ModelShapes:
    """The shapes of a model that no method has been applied to; it may be on the meta device."""
    heads = head_parameter_names(model) if has_head else set()
    body = {name: p.numel() for name, p in model.named_parameters() if name not in heads}
    norms = [module for module in model.modules() if is_norm(module)]
    return ModelShapes(
        model_type=model.config.model_type,
        hidden_size=model.config.hidden_size,
        is_encoder_decoder=bool(model.config.is_encoder_decoder),
        linears=tuple(block_linears(model)),
        norm_sizes=tuple(sum(p.numel() for p in norm.parameters()) for norm in norms),
        biases=sum(size for name, size in body.items() if is_bias(name)),
        total=sum(body.values()),
        tensors=len(body),
        head=sum(p.numel() for name, p in model.named_parameters() if name in heads),
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

    Raises:
        UserError: If the name is neither a folder with a saved model nor a hub id.
    """
    source = locate(model)
    try:
        config = load_config(source, model.name, local_files_only=True)
        with reading(source, model.name, "its config.json"):
            return shapes_of(on_meta(config, AUTO_CLASSES[task_kind]), has_head)
    except (OSError, ValueError, UserError):
        return None  # loading the model will say what is wrong with it


def is_norm(module: nn.Module) -> bool:
    """LayerNorm, RMSNorm and the like, whatever an architecture's own class is called."""
    return type(module).__name__.lower().endswith("norm")


def count_parameters(model: Any, has_head: bool = True) -> ParameterCounts:
    """Count a model to which a method has been applied; a language model has no task head to count apart."""
    head_names = head_parameter_names(model) if has_head else set()
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    head = sum(count for name, count in trained.items() if name in head_names)
    biases = sum(count for name, count in trained.items() if name not in head_names and is_bias(name))
    trainable = sum(trained.values())
    return ParameterCounts(
        adapter_weights=trainable - head - biases,
        adapter_biases=biases,
        head=head,
        trainable=trainable,
        total=sum(_size(p) for p in model.parameters()),
    )


def head_parameter_names(model: Any) -> set[str]:
    """Parameters of the task head: PEFT's trained copy of it, or whatever stands outside the encoder."""
    names = [name for name, _ in model.named_parameters()]
    copies = {name for name in names if ".modules_to_save." in name}
    if copies:
        return copies
    encoder = {id(p) for p in model.base_model.parameters()} if hasattr(model, "base_model_prefix") else set()
    return {name for name, p in model.named_parameters() if encoder and id(p) not in encoder}


def _size(parameter: nn.Parameter) -> int:
    """Its number of values, also where bitsandbytes packs two of them into a byte."""
    packed = getattr(parameter, "quant_state", None)
    return parameter.numel() if packed is None else packed.shape.numel()


def is_bias(name: str) -> bool:
    """Whether a parameter of that name is one that a layer adds, `bias` or some `q_bias`."""
    leaf = name.rpartition(".")[2]
    return leaf == "bias" or leaf.endswith("_bias")
