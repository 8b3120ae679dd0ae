"""Where the transformer blocks of each architecture have their linear layers, by role.

A role means the same everywhere, so settings like `target_modules: [query, value]` fit every architecture here.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple


class LinearRoles(NamedTuple):
    """Names of linear layers below a block (`….layer.3.`), by role. What an architecture lacks is empty.

    BLOOM's, GPT-2's and others' fused projection stands for query, key and value at once.
    """

    query: tuple[str, ...]
    key: tuple[str, ...]
    value: tuple[str, ...]
    attention_output: tuple[str, ...]
    ffn_in: tuple[str, ...]
    ffn_out: tuple[str, ...]
    ffn_gate: tuple[str, ...] = ()

    def key_width(self, d_out: int) -> int:
        """d_kv, where the layer that makes the keys has d_out outputs; a fused one makes queries and values alike."""
        return d_out // 3 if self.key == self.query else d_out


ROLES = LinearRoles._fields


def _roles(
    prefixes: str | tuple[str, ...],
    attention: tuple[str, str, str, str] | tuple[str, str],
    ffn: tuple[tuple[str, ...], ...] | tuple[str, ...],
) -> LinearRoles:
    """attention: q, k, v, output, or a fused one and the output, each below all `prefixes`; ffn: in, out (, gate)."""
    prefixes = (prefixes,) if isinstance(prefixes, str) else prefixes
    names = attention if len(attention) == 4 else (attention[0], attention[0], *attention)
    query, key, value, output = (tuple(f"{prefix}.{name}" for prefix in prefixes) for name in names)
    ffn_in, ffn_out, *gate = ((name,) if isinstance(name, str) else name for name in ffn)
    return LinearRoles(query, key, value, output, ffn_in, ffn_out, *gate)


_SPLIT = ("q_proj", "k_proj", "v_proj", "out_proj")
_T5_FFN = "layer.1.DenseReluDense.", "layer.2.DenseReluDense."

_BERT = _roles(
    "attention", ("self.query", "self.key", "self.value", "output.dense"), ("intermediate.dense", "output.dense")
)
_DEBERTA_V2 = _roles(
    "attention",
    ("self.query_proj", "self.key_proj", "self.value_proj", "output.dense"),
    ("intermediate.dense", "output.dense"),
)
_DISTILBERT = _roles("attention", ("q_lin", "k_lin", "v_lin", "out_lin"), ("ffn.lin1", "ffn.lin2"))
_BART = _roles(("self_attn", "encoder_attn"), _SPLIT, ("fc1", "fc2"))
_LLAMA = _roles(
    "self_attn", ("q_proj", "k_proj", "v_proj", "o_proj"), ("mlp.up_proj", "mlp.down_proj", "mlp.gate_proj")
)
_GPTJ = _roles("attn", _SPLIT, ("mlp.fc_in", "mlp.fc_out"))
_GPT2 = _roles("attn", ("c_attn", "c_proj"), ("mlp.c_fc", "mlp.c_proj"))
_BLOOM = _roles("self_attention", ("query_key_value", "dense"), ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"))
_GPT_NEOX = _roles("attention", ("query_key_value", "dense"), ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"))
_T5 = _roles(
    ("layer.0.SelfAttention", "layer.1.EncDecAttention"),
    ("q", "k", "v", "o"),
    (
        tuple(f"{ffn}{name}" for ffn in _T5_FFN for name in ("wi", "wi_1")),
        tuple(f"{ffn}wo" for ffn in _T5_FFN),
        tuple(f"{ffn}wi_0" for ffn in _T5_FFN),
    ),
)

LINEAR_ROLES: dict[str, LinearRoles] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT),
    "deberta-v2": _DEBERTA_V2,
    "distilbert": _DISTILBERT,
    **dict.fromkeys(("bart", "mbart", "opt"), _BART),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "olmo2"), _LLAMA),
    "gptj": _GPTJ,
    "bloom": _BLOOM,
    "gpt2": _GPT2,
    "gpt_neox": _GPT_NEOX,
    "t5": _T5,
}
"""By the `model_type` of transformers. DeBERTa-v3 is a deberta-v2."""

ENCODERS = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "deberta-v2", "distilbert")
"""The encoders among them."""


def target_pattern(targets: Sequence[str] | str, model_type: str | None) -> str:
    """One regular expression for the modules that `targets` names, as PEFT's `target_modules` takes it.

    An entry is a role (`ROLES`) or the end of a module's name; a string is a regular expression already.
    """
    if isinstance(targets, str):
        return targets
    roles = LINEAR_ROLES.get(model_type or "")
    in_block = [name for target in targets if roles and target in ROLES for name in getattr(roles, target)]
    endings = [target for target in targets if not (roles and target in ROLES)]
    parts = [rf".*\.\d+\.{_any_of(in_block)}"] if in_block else []
    parts += [rf"(.*\.)?{_any_of(endings)}"] if endings else []
    return "|".join(parts)


def _any_of(names: Sequence[str]) -> str:
    return f"({'|'.join(re.escape(name) for name in dict.fromkeys(names))})"
