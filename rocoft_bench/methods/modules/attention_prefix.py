"""Prefixes: trained keys and values that an attention sees in front of its own, softmax(q [P_k; K]ᵀ) [P_v; V].

Every query sees the whole prefix, whatever is masked otherwise. The positions of the tokens stay what they are, and
P_k gets no position of its own: neither a rotation (LLaMA, GPT-J) nor a bias (DeBERTa, BLOOM, T5), so that with
rotations and with ALiBi it stands where the first token stands. Nothing of a prefix enters a cache of past keys.

Most architectures call an attention function that their configuration names; they are told to call the one below. The
attention of the others is written out in their module, which is made one of a subclass.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.bloom.modeling_bloom import BloomAttention
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention
from transformers.models.gptj.modeling_gptj import GPTJAttention

from rocoft_bench.errors import UserError
from rocoft_bench.methods.modules.shared_mask import Fixable, Mask
from rocoft_bench.methods.modules.wrappers import Attached, matrix_of, targeted_linears
from rocoft_bench.models import LINEAR_ROLES

IMPLEMENTATION = "prefix_sdpa"
INIT_STD = 0.02


class Prefix(Attached):
    """The prefix of one attention, its submodule `prefix`."""

    length: int

    @abstractmethod
    def key_and_value(self) -> tuple[Tensor, Tensor]:
        """P_k and P_v, (l, d_kv) each."""

    def before(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """key, value (batch, heads, n, d_head) -> the same with the prefix in front, (batch, heads, l + n, d_head)."""
        prefix_key, prefix_value = self.key_and_value()
        return _in_front(prefix_key, key), _in_front(prefix_value, value)


class FlatPrefix(Prefix):
    """P_k and P_v are trained as they are. They start near zero, N(0, 0.02²), like a model's own embeddings."""

    def __init__(self, length: int, width: int, device: torch.device) -> None:
        super().__init__()
        self.length = length
        self.key = nn.Parameter(torch.empty(length, width, device=device, dtype=torch.float32))
        self.value = nn.Parameter(torch.empty_like(self.key))
        for table in (self.key, self.value):
            nn.init.normal_(table, std=INIT_STD)

    def key_and_value(self) -> tuple[Tensor, Tensor]:
        return self.key, self.value


class Prototype(Fixable):
    """A table (length, width) that an MLP makes of trained embeddings, or, once `fix`ed, nothing but that `table`."""

    table: Tensor | None
    mlp: nn.Sequential | None
    embedding: nn.Parameter | None

    def __init__(self, length: int, d_model: int, hidden: int, width: int, device: torch.device) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(length, d_model, device=device, dtype=torch.float32))
        self.mlp = nn.Sequential(
            nn.Linear(d_model, hidden, device=device, dtype=torch.float32),
            nn.Tanh(),
            nn.Linear(hidden, width, device=device, dtype=torch.float32),
        )
        self.register_buffer("table", None)

    def forward(self) -> Tensor:
        """The table."""
        if self.mlp is not None:
            return self.mlp(self.embedding)
        assert self.table is not None
        return self.table

    def made(self) -> dict[str, Tensor]:
        return {"table": self()}


class MaskedPrefix(Prefix):
    """[P_k, P_v] = prototype ⊙ mask, (l, 2 d_kv)."""

    def __init__(self, length: int, d_model: int, hidden: int, width: int, keep: float, device: torch.device) -> None:
        super().__init__()
        self.length = length
        self.prototype = Prototype(length, d_model, hidden, 2 * width, device)
        self.mask = Mask((length, 2 * width), keep, device)

    def key_and_value(self) -> tuple[Tensor, Tensor]:
        key, value = self.mask(self.prototype()).chunk(2, dim=-1)
        return key, value


def _in_front(prefix: Tensor, states: Tensor) -> Tensor:
    """prefix (l, heads * d_head), states (batch, heads, n, d_head) -> (batch, heads, l + n, d_head)."""
    batch, heads, _, d_head = states.shape
    split = prefix.to(states.dtype).view(len(prefix), heads, d_head).transpose(0, 1)
    return torch.cat([split.expand(batch, -1, -1, -1), states], dim=2)


def _widened(mask: Tensor | None, length: int) -> Tensor | None:
    """A mask (…, n) with `length` visible columns in front: True where it says what is seen, 0 where it is added."""
    if mask is None:
        return None
    return F.pad(mask, (length, 0), value=True if mask.dtype == torch.bool else 0.0)


def attention_with_prefix(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    is_causal: bool | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers wants it: query (batch, heads, q, d_head), key and value with kv for q.

    A module without a prefix may come here too, where another model shares its configuration.
    """
    prefix: Prefix | None = getattr(module, "prefix", None)
    if prefix is not None:
        if is_causal is None:
            is_causal = getattr(module, "is_causal", True)
        if attention_mask is None and is_causal and query.shape[2] > 1:
            attention_mask = query.new_ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool).tril()
        is_causal = False
        key, value = prefix.before(key, value)
        attention_mask, position_bias = (_widened(x, prefix.length) for x in (attention_mask, position_bias))
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, is_causal=is_causal, position_bias=position_bias, **options
    )


class PrefixGPTJAttention(GPTJAttention):
    prefix: Prefix

    def _attn(self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any = None) -> tuple[Tensor, Tensor]:
        return super()._attn(query, *self.prefix.before(key, value), _widened(attention_mask, self.prefix.length))


class _PrefixedPast:
    """Past keys and values, if there are any, with a prefix in front of what an attention gets from them."""

    def __init__(self, prefix: Prefix, past: Any) -> None:
        self.prefix, self.past = prefix, past

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        if self.past is not None:
            key, value = self.past.update(key, value, layer)
        return self.prefix.before(key, value)


class PrefixBloomAttention(BloomAttention):
    prefix: Prefix

    def forward(  # type: ignore[override]
        self, hidden: Tensor, residual: Tensor, alibi: Tensor, attention_mask: Any, layer_past: Any = None, **rest: Any
    ) -> Any:
        """alibi (batch * heads, 1, n), mask (batch, 1, q, n): 0 in the columns of the prefix."""
        past: Any = _PrefixedPast(self.prefix, layer_past)
        alibi = F.pad(alibi, (self.prefix.length, 0))
        mask: Any = _widened(attention_mask, self.prefix.length)
        return super().forward(hidden, residual, alibi, mask, past, **rest)


class PrefixDisentangledSelfAttention(DisentangledSelfAttention):
    """DeBERTa's: scores are (content + position terms) / sqrt(factor * d_head), the latter between tokens only."""

    prefix: Prefix

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor,
        output_attentions: bool = False,
        query_states: Tensor | None = None,
        relative_pos: Tensor | None = None,
        rel_embeddings: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """hidden_states (batch, n, d), attention_mask (batch, 1, n, n) -> (batch, n, d)."""
        projected = (
            self.query_proj(hidden_states if query_states is None else query_states),
            self.key_proj(hidden_states),
            self.value_proj(hidden_states),
        )
        query, key, value = (self._heads_apart(x) for x in projected)
        factor = 1 + ("c2p" in self.pos_att_type) + ("p2c" in self.pos_att_type)
        bias = self._position_bias(query, key, relative_pos, rel_embeddings, factor)
        bias = bias.masked_fill(~attention_mask.bool(), torch.finfo(bias.dtype).min)
        context = F.scaled_dot_product_attention(
            query,
            *self.prefix.before(key, value),
            attn_mask=_widened(bias, self.prefix.length),
            dropout_p=self.dropout.p if self.training else 0.0,
            scale=(factor * self.attention_head_size) ** -0.5,
        )
        return context.transpose(1, 2).flatten(2), None

    def _heads_apart(self, x: Tensor) -> Tensor:
        """(batch, n, heads * d_head) -> (batch, heads, n, d_head)."""
        return x.unflatten(-1, (self.num_attention_heads, -1)).transpose(1, 2)

    def _position_bias(
        self, query: Tensor, key: Tensor, relative_pos: Tensor | None, rel_embeddings: Tensor | None, factor: int
    ) -> Tensor:
        """query, key (batch, heads, n, d_head) -> (batch, heads, n, n)."""
        if not self.relative_attention:
            return query.new_zeros(*query.shape[:-1], key.shape[2])
        bias: Tensor = self.disentangled_attention_bias(
            query.flatten(0, 1), key.flatten(0, 1), relative_pos, self.pos_dropout(rel_embeddings), factor
        )
        return bias.unflatten(0, query.shape[:2])


SUBCLASSES: dict[type[nn.Module], type[nn.Module]] = {
    DisentangledSelfAttention: PrefixDisentangledSelfAttention,
    GPTJAttention: PrefixGPTJAttention,
    BloomAttention: PrefixBloomAttention,
}


def put_prefixes(model: Any, make: Callable[[int, torch.device], Prefix]) -> list[Prefix]:
    """Give every attention of a model a prefix, made by `make` of its width and device; the prefixes, in order.

    Raises: UserError if the model's attention can take none.
    """
    made: list[Prefix] = []
    for name, linear in targeted_linears(model, ["key"]).items():
        matrix, attention = matrix_of(linear), model.get_submodule(name.rpartition(".")[0])
        made.append(make(LINEAR_ROLES[model.config.model_type].key_width(len(matrix)), matrix.device))
        attention.add_module("prefix", made[-1])
        if subclass := SUBCLASSES.get(type(attention)):
            attention.__class__ = subclass
        elif model.config._attn_implementation != IMPLEMENTATION:
            if not model._can_set_attn_implementation():
                raise UserError(f"the attention of this {model.config.model_type} model cannot take a prefix")
            model.set_attn_implementation(IMPLEMENTATION)
    return made


AttentionInterface.register(IMPLEMENTATION, attention_with_prefix)
AttentionMaskInterface.register(IMPLEMENTATION, sdpa_mask)
