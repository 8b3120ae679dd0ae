"""A layer's input, computed again in backward from what the operation that made it keeps for its own backward.

The gradient of trained rows needs all of x, which a frozen layer does not keep. But x mostly is the output of
something cheap, a normalisation, an activation, a product of two tensors, whose autograd node keeps what went into it.
From that the same operation makes the same x, bit for bit, so that nothing need be kept beside what a frozen model
keeps. (A tensor changed past autograd, as `x.data`, would not be made again as it was.) The attributes of nodes are
those of https://docs.pytorch.org/docs/stable/notes/autograd.html#saved-tensors.
"""

import re
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Again = Callable[[], Tensor]
"""Computes a tensor again; to be called in the backward pass, before that of the node that it is from."""

Product = Callable[[Tensor], Tensor]
"""Of g (N, k), the product gᵀ x (k, d_in), or what is needed of it, with an input x that is made again."""

Multiply = Callable[[Tensor, Tensor], Tensor]
"""Of g (N, k) and x (N, d_in)."""

_MOST_OPERATIONS = 8
"""A longer way back to something that is kept costs more than it saves."""


class LayerNorms:
    """The normalisations of a model, from which ε comes: of all that one is made with, its node alone lacks that."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        own = nn.LayerNorm.forward
        self._norms = [m for m in modules if isinstance(m, nn.LayerNorm) and m.forward.__func__ is own]  # type: ignore[attr-defined]
        self._last = 0

    def epsilon(self, weight: Any) -> float | None:
        """Of the module with this weight; looked for from the one found last, since layers are called in order."""
        if not isinstance(weight, Tensor) or not (address := weight.data_ptr()):
            return None
        for step in range(count := len(self._norms)):
            norm = self._norms[place := (self._last + step) % count]
            if norm.weight is not None and norm.weight.data_ptr() == address:
                self._last = place
                return norm.eps
        return None


def product_with(x: Tensor, norms: LayerNorms, multiply: Multiply | None = None) -> Product | None:
    """How to compute gᵀ x in backward, if x (..., d_in) can be made again, or need not be made at all.

    multiply: Computes what is needed of gᵀ x, g having many columns; without it g has few. Then gᵀ (P V), of what
    attention returns, is (gᵀ P) V: two thin products, not equal to those with x in the last bits, where making x again
    would be a thick one.
    """
    is_as_made = type(x) is Tensor and x.grad_fn is not None and not (x.output_nr or x._version)
    if not is_as_made or _is_checkpointed():
        return None
    again = _shared(x, norms)
    product = _with(again, x.shape[-1], multiply) if again else None if multiply else _with_attention(x)
    if product is None or not torch.amp.is_autocast_available(device := x.device.type):
        return product

    def without_autocast(g: Tensor) -> Tensor:  # below which the nodes were made
        if not torch.is_autocast_enabled(device):
            return product(g)
        with torch.autocast(device, enabled=False):
            return product(g)

    return without_autocast


def _with(again: Again, d_in: int, multiply: Multiply | None) -> Product:
    multiply = multiply or (lambda g, x: g.t() @ x)
    return lambda g: multiply(g, again().reshape(-1, d_in).to(g.dtype))


class _SharedInput:
    """What several layers are given, as the queries', keys' and values', is made again once for all of them."""

    def __init__(self, x: Tensor, again: Again) -> None:
        self.x, self._again = weakref.ref(x), again
        self.users, self._left = 0, 0
        self._made: Tensor | None = None

    def __call__(self) -> Tensor:
        if (made := self._made) is None:
            made, self._left = self._again(), self.users
        self._left -= 1
        self._made = made if self._left > 0 else None
        return made


_LATEST = threading.local()
"""By a weak reference, since it keeps the graph that x is from."""


def _shared(x: Tensor, norms: LayerNorms) -> Again | None:
    shared: _SharedInput | None = getattr(_LATEST, "input", lambda: None)()
    if shared is None or shared.x() is not x:
        again = _output_of(x.grad_fn, norms, _MOST_OPERATIONS)
        if again is None:
            return None
        shared = _SharedInput(x, again)
        _LATEST.input = weakref.ref(shared)
    shared.users += 1
    return shared


def _with_attention(x: Tensor) -> Product | None:
    """x (B, L, H d) is P (B H, L, M) times V (B H, M, d), the heads put side by side."""
    nodes = [node for node in _reorderings(x.grad_fn) if node.name() != "CloneBackward0"]
    names = " ".join(node.name().removeprefix("Unsafe").removesuffix("Backward0") for node in nodes)
    if not re.fullmatch("View Transpose (View )+Bmm", names):
        return None
    bmm, side_by_side = nodes[-1], nodes[1]
    probabilities, values = _kept(bmm, "self"), _kept(bmm, "mat2")
    if len(shape := side_by_side._input_metadata[0].shape) != 4 or not (probabilities and values):
        return None
    batch, length, heads, width = shape
    are_heads = sorted(_transposed_dims(side_by_side)) == [1, 2] and x.shape[-1] == heads * width
    if not are_heads or bmm._input_metadata[0].shape != [batch * heads, length, width]:
        return None

    def product(g: Tensor) -> Tensor:  # (B L, r) -> (r, H d)
        g = g.view(batch, 1, length, -1).transpose(2, 3).expand(batch, heads, -1, length).flatten(0, 1)
        parts = g @ probabilities().to(g.dtype) @ values().to(g.dtype)  # (B H, r, d)
        result = g.new_empty(g.shape[1], heads, width)
        torch.sum(parts.view(batch, heads, -1, width).transpose(1, 2), 0, out=result)
        return result.flatten(1)

    return product


def _reorderings(node: Any) -> Iterator[Any]:
    """A node and those before it, up to the first one that computes something."""
    while node is not None:
        yield node
        node = node.next_functions[0][0] if node.name() in _REORDERINGS else None


_REORDERINGS = ("ViewBackward0", "UnsafeViewBackward0", "CloneBackward0", "TransposeBackward0")


def _is_checkpointed() -> bool:
    """Whether this forward pass keeps nothing, or is the second one: both must keep equally many tensors."""
    hooks = torch._C._autograd._top_saved_tensors_default_hooks(False)
    return hooks is not None and getattr(hooks[0], "__module__", None) == "torch.utils.checkpoint"


def _output_of(node: Any, norms: LayerNorms, operations: int) -> Again | None:
    """The first output of an autograd node."""
    rule = _RULES.get(node.name()) if operations else None
    if isinstance(rule, str):
        return _kept(node, rule)

    def value_of(name: str, argument: int = 0) -> Again | None:
        """An argument of the operation: kept under a name, or in its turn an output that can be computed again."""
        if (kept := _kept(node, name)) is not None:
            return kept
        producer, output = node.next_functions[argument] if argument < len(node.next_functions) else (None, 0)
        return _output_of(producer, norms, operations - 1) if producer is not None and not output else None

    return rule(node, value_of, norms) if rule else None


def _kept(node: Any, name: str) -> Again | None:
    """A tensor that a node keeps. None if hooks have made it something else, which one may be given back only once."""
    packed = getattr(getattr(node, f"_raw_saved_{name}", None), "data", None)
    return (lambda: getattr(node, f"_saved_{name}")) if isinstance(packed, Tensor) else None


ValueOf = Callable[..., Again | None]


def _gelu(node: Any, value_of: ValueOf, norms: LayerNorms) -> Again | None:
    x, how = _kept(node, "self"), node._saved_approximate
    return x and (lambda: nn.functional.gelu(x(), approximate=how))


def _silu(node: Any, value_of: ValueOf, norms: LayerNorms) -> Again | None:
    x = _kept(node, "self")
    return x and (lambda: nn.functional.silu(x()))


def _product(node: Any, value_of: ValueOf, norms: LayerNorms) -> Again | None:
    """Of a gate and values, of a weight and what is normalised, of a dropout's mask and values."""
    a, b = value_of("self", 0), value_of("other", 1)
    return a and b and (lambda: a() * b())


def _layer_norm(node: Any, value_of: ValueOf, norms: LayerNorms) -> Again | None:
    x, weight, shape = _kept(node, "input"), _kept(node, "weight"), node._saved_normalized_shape
    epsilon = norms.epsilon(node._raw_saved_weight.data) if weight else None
    if x is None or weight is None or epsilon is None:
        return None
    return lambda: torch.native_layer_norm(x(), shape, weight(), node._saved_bias, epsilon)[0]


def _in_another_precision(node: Any, value_of: ValueOf, norms: LayerNorms) -> Again | None:
    x, made = value_of(""), node._input_metadata[0]
    if x is None or node.next_functions[0][0]._input_metadata[0].device != made.device:
        return None
    return lambda: x().to(made.dtype)


def _view(node: Any, value_of: ValueOf, norms: LayerNorms) -> Again | None:
    x, shape = value_of(""), node._input_metadata[0].shape
    return x and (lambda: x().reshape(shape))


def _transposed(node: Any, value_of: ValueOf, norms: LayerNorms) -> Again | None:
    x, dims = value_of(""), _transposed_dims(node)
    return x and (lambda: x().transpose(*dims))


def _transposed_dims(node: Any) -> list[int]:
    """Negative ones are kept as unsigned numbers."""
    return [dim - 2**64 if dim >= 2**63 else dim for dim in (node._saved_dim0, node._saved_dim1)]


_RULES: dict[str, str | Callable[[Any, ValueOf, LayerNorms], Again | None]] = {
    "GeluBackward0": _gelu,
    "SiluBackward0": _silu,
    "ReluBackward0": "result",
    "TanhBackward0": "result",
    "SigmoidBackward0": "result",
    "MulBackward0": _product,
    "NativeLayerNormBackward0": _layer_norm,
    "ToCopyBackward0": _in_another_precision,
    "ViewBackward0": _view,
    "TransposeBackward0": _transposed,
    "CloneBackward0": lambda node, value_of, norms: value_of(""),
    "ScaledDotProductFlashAttentionForCpuBackward0": "output",
    "ScaledDotProductFlashAttentionBackward0": "output",
    "ScaledDotProductEfficientAttentionBackward0": "output",
    "ScaledDotProductCudnnAttentionBackward0": "output",
}
"""By a node's name, how its output is computed again; under which name it keeps that, where it does."""
