"""The shapes of a model without the model: what formulas for parameters and memory need to know. No torch here.

Those of the paper's and the embedded models ship with the package (architectures/shapes.json, made by
scripts/make_shapes.py); a test compares them with the models.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cache
from itertools import groupby
from typing import Any

from rocoft_bench.config.catalog import known_model
from rocoft_bench.models.architectures import shipped
from rocoft_bench.models.linear_roles import LINEAR_ROLES
from rocoft_bench.models.target_modules import matched


@dataclass(frozen=True)
class LinearShape:
    """A linear layer; the weight is (d_out, d_in)."""

    name: str
    d_in: int
    d_out: int
    has_bias: bool


@dataclass(frozen=True)
class ForwardShapes:
    """What the size of a forward pass depends on beside the weights.

    longest: tokens that the model has positions for; None without a limit. fused_attention: whether attention is one
    call of torch's (sdpa), which need not keep the scores. relative_columns: scores per query and head that attention
    computes for relative positions, beside those for keys. activation: of the feed-forward part, by its name in the
    configuration. Dropouts are None where the architecture has none.
    """

    vocab_size: int
    longest: int | None
    heads: int
    fused_attention: bool
    relative_columns: int
    activation: str | None
    hidden_dropout: float | None
    attention_dropout: float | None


@dataclass(frozen=True)
class ModelShapes:
    """What the formulas of the methods need to know of a model.

    linears: those of the transformer blocks. outer_linears: those outside of these and of the head, such as a pooler's
    or a language model's. hidden_size: width of the residual stream. norm_sizes: parameters of each normalisation layer
    outside the head. biases, total: parameters outside the head, all biases and all in all; tensors: how many tensors
    those are. head: parameters of the task head, of two classes where it has classes; head_linears: its linear layers.
    """

    model_type: str
    hidden_size: int
    is_encoder_decoder: bool
    linears: tuple[LinearShape, ...]
    outer_linears: tuple[LinearShape, ...]
    norm_sizes: tuple[int, ...]
    biases: int
    total: int
    tensors: int
    head: int
    head_linears: tuple[LinearShape, ...]
    forward: ForwardShapes

    def targeted(self, targets: Sequence[str] | str | None) -> list[LinearShape]:
        """The linear layers that `target_modules` names (roles, endings or a regular expression); None for all.

        Raises: UserError as `matched`.
        """
        if targets is None:
            return list(self.linears)
        names = set(matched(targets, self.model_type, [linear.name for linear in self.linears]))
        return [linear for linear in self.linears if linear.name in names]

    @property
    def key_widths(self) -> list[int]:
        """d_kv of each attention, self- and cross-attention: how wide a prefix in front of the keys is."""
        return [LINEAR_ROLES[self.model_type].key_width(linear.d_out) for linear in self.targeted(["key"])]


OUTSIDE_BLOCKS = ("outer_linears", "head_linears")


@cache
def shipped_shapes(name: str, task_kind: str) -> ModelShapes | None:
    """The shapes of a model of the catalogue for a kind of task; None where the package does not have them."""
    known = known_model(name)
    packed = shipped("shapes").get(known.alias, {}).get(task_kind) if known else None
    return None if packed is None else unpack(packed)


def pack(shapes: ModelShapes) -> dict[str, Any]:
    """Shapes as compact JSON values: the linear layers of equal blocks once, equal norms counted."""
    packed = asdict(shapes)
    packed["norm_sizes"] = [[size, len(list(equal))] for size, equal in groupby(shapes.norm_sizes)]
    packed["linears"] = list(_pack_blocks(shapes.linears))
    packed |= {key: [astuple(linear) for linear in getattr(shapes, key)] for key in OUTSIDE_BLOCKS}
    return packed


def unpack(packed: dict[str, Any]) -> ModelShapes:
    """The inverse of `pack`."""
    return ModelShapes(
        **{
            **packed,
            "norm_sizes": tuple(size for size, count in packed["norm_sizes"] for _ in range(count)),
            "linears": tuple(
                LinearShape(f"{stack}.{block}.{name}", d_in, d_out, has_bias)
                for stack, blocks, linears in packed["linears"]
                for block in range(blocks)
                for name, d_in, d_out, has_bias in linears
            ),
            **{key: tuple(LinearShape(*values) for values in packed[key]) for key in OUTSIDE_BLOCKS},
            "forward": ForwardShapes(**packed["forward"]),
        }
    )


_IN_BLOCK = re.compile(r"(?P<stack>.*?)\.(?P<block>\d+)\.(?P<name>.*)")


def _pack_blocks(linears: Iterable[LinearShape]) -> Iterable[list[Any]]:
    """[name of the stack, number of its blocks, the linear layers of each as [name, d_in, d_out, has_bias]]."""
    for stack, members in groupby(linears, lambda linear: _parts(linear)[0]):
        blocks = [
            [[_parts(linear)[2], linear.d_in, linear.d_out, linear.has_bias] for linear in block]
            for _, block in groupby(members, lambda linear: _parts(linear)[1])
        ]
        if any(block != blocks[0] for block in blocks):
            raise ValueError(f"{stack}: the blocks are not alike")
        yield [stack, len(blocks), blocks[0]]


def _parts(linear: LinearShape) -> tuple[str, str, str]:
    """Stack, number of the block in it, and name in the block."""
    match = _IN_BLOCK.fullmatch(linear.name)
    if match is None:
        raise ValueError(f"{linear.name}: not in a numbered block")
    return match["stack"], match["block"], match["name"]


def block_of(linear: LinearShape) -> str:
    """The name of the block that a linear layer is in; its own, where blocks have no numbers."""
    match = _IN_BLOCK.fullmatch(linear.name)
    return f"{match['stack']}.{match['block']}" if match else linear.name
