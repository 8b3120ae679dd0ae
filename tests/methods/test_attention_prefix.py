"""Prefixes inside attention, against plain softmax attention and against the models without them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers as t
from torch import Tensor, nn

from rocoft_bench.errors import UserError
from rocoft_bench.methods.modules.attention_prefix import FlatPrefix, attention_with_prefix, put_prefixes

from .conftest import CONFIGS, SMALL, TOKENS

LENGTH = 3
LLAMA = {**SMALL, **TOKENS, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 80}
MODELS: dict[str, tuple[type[Any], Callable[[], Any]]] = {
    "bert": (t.AutoModel, CONFIGS["bert"]),
    "roberta": (t.AutoModel, CONFIGS["roberta"]),
    "deberta-v2": (t.AutoModel, CONFIGS["deberta-v2"]),
    "distilbert": (
        t.AutoModel,
        lambda: t.DistilBertConfig(
            vocab_size=50, dim=16, n_layers=2, n_heads=2, hidden_dim=32, dropout=0.0, attention_dropout=0.0
        ),
    ),
    "bart": (t.AutoModelForSeq2SeqLM, CONFIGS["bart"]),
    "t5": (
        t.AutoModelForSeq2SeqLM,
        lambda: t.T5Config(
            vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0, pad_token_id=1,
            eos_token_id=2, decoder_start_token_id=1,
        ),
    ),
    "llama": (t.AutoModelForCausalLM, lambda: t.LlamaConfig(**LLAMA)),
    "mistral": (t.AutoModelForCausalLM, lambda: t.MistralConfig(**LLAMA, sliding_window=4)),
    "opt": (
        t.AutoModelForCausalLM,
        lambda: t.OPTConfig(
            **TOKENS, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, ffn_dim=32, word_embed_proj_dim=16,
            max_position_embeddings=80, dropout=0.0,
        ),
    ),
    "gpt2": (
        t.AutoModelForCausalLM,
        lambda: t.GPT2Config(
            **TOKENS, n_embd=16, n_layer=2, n_head=2, n_positions=80, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
        ),
    ),
    "gpt_neox": (
        t.AutoModelForCausalLM, lambda: t.GPTNeoXConfig(**SMALL, **TOKENS, max_position_embeddings=80)
    ),
    "gptj": (t.AutoModelForCausalLM, CONFIGS["gptj"]),
    "bloom": (t.AutoModelForCausalLM, CONFIGS["bloom"]),
}  # fmt: skip
GENERATING = ["llama", "mistral", "opt", "gpt2", "gpt_neox", "gptj", "bloom"]


def model_of(name: str, **changes: Any) -> Any:
    """Always the same random weights, large enough for attention to be far from uniform."""
    torch.manual_seed(0)
    auto_class, make_config = MODELS[name]
    config = make_config()
    for key, value in changes.items():
        setattr(config, key, value)
    model = auto_class.from_config(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            parameter.normal_(std=0.3)
    return model


def prefixed(name: str, length: int = LENGTH, **changes: Any) -> Any:
    model = model_of(name, **changes)
    torch.manual_seed(1)
    for prefix in put_prefixes(model, partial(FlatPrefix, length)):
        nn.init.normal_(prefix.key)
        nn.init.normal_(prefix.value)
    return model


def batch_of(name: str, padded: bool = True) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, 50, (3, 7), generator=generator)
    mask = torch.ones_like(ids)
    if padded:
        ids[1, 4:], mask[1, 4:] = 1, 0
    batch = {"input_ids": ids, "attention_mask": mask}
    return {**batch, "decoder_input_ids": ids[:, :5]} if name in ("bart", "t5") else batch


def run(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return model(**batch)[0]


def some_loss(output: Tensor) -> Tensor:
    """Not a sum of squares, which a normalisation makes a constant."""
    return (output * torch.randn(output.shape, generator=torch.Generator().manual_seed(5))).sum()


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_an_empty_prefix_changes_nothing(name: str, padded: bool) -> None:
    batch = batch_of(name, padded)
    torch.testing.assert_close(run(prefixed(name, length=0), batch), run(model_of(name), batch), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_every_attention_gets_a_prefix_and_every_prefix_counts(name: str) -> None:
    model, batch = prefixed(name), batch_of(name)
    prefixes = [module for module in model.modules() if isinstance(module, FlatPrefix)]
    some_loss(run(model, batch)).backward()
    assert len(prefixes) == (6 if name in ("bart", "t5") else 2)
    assert all(p.grad is not None and p.grad.abs().max() > 1e-6 for prefix in prefixes for p in prefix.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_names_of_the_models_parameters_stay(name: str) -> None:
    added = {key for key in prefixed(name).state_dict() if ".prefix." not in key}
    assert added == set(model_of(name).state_dict())


@pytest.mark.parametrize("name", MODELS)
def test_padding_does_not_matter(name: str) -> None:
    model, batch = prefixed(name), batch_of(name)
    alone = {key: value[1:2] if key == "decoder_input_ids" else value[1:2, :4] for key, value in batch.items()}
    together = run(model, batch)[1:2]
    together = together if "decoder_input_ids" in batch else together[:, :4]
    torch.testing.assert_close(run(model, alone), together, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    model, batch = prefixed(name).train(), batch_of(name)
    some_loss(run(model, batch)).backward()
    plain = [p.grad.clone() for p in model.parameters() if p.requires_grad]
    model.zero_grad()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    some_loss(run(model, batch)).backward()
    torch.testing.assert_close([p.grad for p in model.parameters() if p.requires_grad], plain)


@pytest.mark.parametrize("name", MODELS)
def test_other_models_are_not_affected(name: str) -> None:
    """Neither one with the same configuration object nor one made later."""
    shared = model_of(name)
    batch = batch_of(name)
    before = run(shared, batch)
    other = type(shared)(shared.config)
    put_prefixes(other, partial(FlatPrefix, LENGTH))
    torch.testing.assert_close(run(shared, batch), before, atol=2e-6, rtol=1e-5)
    torch.testing.assert_close(run(model_of(name), batch), before)


@pytest.mark.parametrize("name", ["roberta", "deberta-v2", "gpt2"])
def test_attention_dropout_is_the_models(name: str) -> None:
    field = "attn_pdrop" if name == "gpt2" else "attention_probs_dropout_prob"
    model, batch = prefixed(name, **{field: 0.5}), batch_of(name)
    torch.testing.assert_close(run(model, batch), run(prefixed(name), batch))
    model.train()
    assert not torch.allclose(run(model, batch), run(model, batch))
    torch.testing.assert_close(run(prefixed(name).train(), batch), run(prefixed(name), batch))


@pytest.mark.parametrize("name", MODELS)
def test_half_precision_and_autocast(name: str) -> None:
    batch = batch_of(name)
    expected = run(prefixed(name), batch)
    half = prefixed(name).to(torch.bfloat16)
    for prefix in (module for module in half.modules() if isinstance(module, FlatPrefix)):
        prefix.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = run(prefixed(name), batch)
    real = batch["attention_mask"].bool() if "decoder_input_ids" not in batch else ...
    for found in (run(half, batch), mixed):
        error = (found.float() - expected)[real].norm() / expected[real].norm()
        assert error < 0.1
    some_loss(run(half, batch).float()).backward()
    grads = [p.grad for p in half.parameters() if p.requires_grad]
    assert all(g is not None and g.dtype == torch.float32 and g.isfinite().all() for g in grads)


@pytest.mark.parametrize("name", [*GENERATING, "bart", "t5"])
def test_generation_is_the_same_with_a_cache(name: str) -> None:
    model = prefixed(name)
    ids = torch.randint(3, 50, (2, 5), generator=torch.Generator().manual_seed(3))
    generate = partial(model.generate, ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6)
    assert torch.equal(generate(use_cache=True), generate(use_cache=False))


@pytest.mark.parametrize("name", [*GENERATING, "bart", "t5"])
def test_generation_is_the_same_alone_and_in_a_padded_batch(name: str) -> None:
    """Padded on the left, or on the right where an encoder reads the input."""
    model = prefixed(name)
    ids = torch.randint(3, 50, (3, 6), generator=torch.Generator().manual_seed(4))
    mask = torch.ones_like(ids)
    left = name in GENERATING
    real = [slice(3, 6), slice(1, 6), slice(0, 6)] if left else [slice(0, 3), slice(0, 5), slice(0, 6)]
    for row, kept in enumerate(real):
        mask[row] = 0
        mask[row, kept] = 1
    ids[mask == 0] = 1
    generate = partial(model.generate, do_sample=False, max_new_tokens=6, min_new_tokens=6)
    together = generate(ids, attention_mask=mask)
    for row, kept in enumerate(real):
        alone = generate(ids[row : row + 1, kept], attention_mask=mask[row : row + 1, kept])
        assert torch.equal(alone[0, -6:], together[row, -6:])


def dense_attention(
    query: Tensor, key: Tensor, value: Tensor, prefix: FlatPrefix, visible: Tensor, scaling: float, bias: Any = 0.0
) -> Tensor:
    """softmax(q [P_k; K]ᵀ) [P_v; V] one row and head at a time; visible, bias (batch, heads, q, n)."""
    batch, heads, q, d_head = query.shape
    groups = heads // key.shape[1]
    bias = torch.as_tensor(bias).expand(batch, heads, q, key.shape[2])
    rows = []
    for b in range(batch):
        for h in range(heads):
            part = slice((h // groups) * d_head, (h // groups + 1) * d_head)
            own = query[b, h] @ key[b, h // groups].T * scaling + bias[b, h]
            own = own.masked_fill(~visible.expand(batch, heads, q, -1)[b, h], -torch.inf)
            scores = torch.cat([query[b, h] @ prefix.key[:, part].T * scaling, own], dim=1)
            rows.append(scores.softmax(1) @ torch.cat([prefix.value[:, part], value[b, h // groups]]))
    return torch.stack(rows).view(batch, heads, q, d_head).transpose(1, 2)


MASKS: dict[str, tuple[int, bool, Callable[[Tensor], Tensor | None]]] = {
    "none, causal": (5, True, lambda visible: None),
    "none, causal, one query of a cache": (1, True, lambda visible: None),
    "none, both ways": (5, False, lambda visible: None),
    "boolean": (5, True, lambda visible: visible),
    "added": (5, False, lambda visible: torch.zeros(visible.shape).masked_fill(~visible, torch.finfo().min)),
}


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("case", MASKS)
def test_attention_function_against_plain_attention(case: str, kv_heads: int) -> None:
    """Forward and gradients, for all kinds of masks, and with grouped queries."""
    q, causal, make_mask = MASKS[case]
    batch, heads, kv, d_head = 2, 4, 5, 6
    torch.manual_seed(0)
    visible = torch.ones(batch, 1, q, kv, dtype=torch.bool)
    if causal:
        visible = visible.tril(kv - q)
    if make_mask(visible) is not None:
        visible[1, :, :, 3:] = False
    states = [
        torch.randn(batch, h, n, d_head, requires_grad=True) for h, n in ((heads, q), (kv_heads, kv), (kv_heads, kv))
    ]
    prefix = FlatPrefix(LENGTH, kv_heads * d_head, torch.device("cpu"))
    nn.init.normal_(prefix.key)
    nn.init.normal_(prefix.value)
    module = SimpleNamespace(prefix=prefix, num_key_value_groups=heads // kv_heads, is_causal=causal)
    inputs = [*states, prefix.key, prefix.value]

    found, _ = attention_with_prefix(module, *states, make_mask(visible), scaling=0.7)
    expected = dense_attention(*states, prefix, visible, 0.7)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(found.shape)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), inputs), torch.autograd.grad((expected * weights).sum(), inputs)
    )


def check_module(found: Tensor, expected: Tensor, prefix: FlatPrefix, x: Tensor) -> None:
    """Both are functions of the same prefix and the same hidden states."""
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    inputs = [prefix.key, prefix.value, x]
    weights = torch.randn(found.shape)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), inputs),
        torch.autograd.grad((expected * weights).sum(), inputs),
        atol=1e-5,
        rtol=1e-4,
    )


def split_heads(x: Tensor, heads: int = 2) -> Tensor:
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


@pytest.mark.parametrize("terms", [["p2c", "c2p"], ["c2p"]])
def test_debertas_attention_against_plain_attention(terms: list[str]) -> None:
    """The position terms are the stock module's, between tokens only."""
    model = prefixed("deberta-v2", pos_att_type=terms)
    module, stock = model.encoder.layer[1].attention.self, model_of("deberta-v2", pos_att_type=terms).encoder
    x = torch.randn(2, 5, 16, requires_grad=True)
    keep = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()
    visible = (keep[:, None, :, None] & keep[:, None, None, :]).clone()
    embeddings = stock.get_rel_embedding()

    q, k, v = (split_heads(p(x)) for p in (module.query_proj, module.key_proj, module.value_proj))
    factor = len(terms) + 1
    bias = (
        stock.layer[1]
        .attention.self.disentangled_attention_bias(q.reshape(4, 5, 8), k.reshape(4, 5, 8), None, embeddings, factor)
        .view(2, 2, 5, 5)
    )
    expected = dense_attention(q, k, v, module.prefix, visible, (factor * 8) ** -0.5, bias).flatten(2)
    found = module(x, visible, rel_embeddings=embeddings)[0]
    check_module(found[keep], expected[keep], module.prefix, x)


def test_blooms_attention_against_plain_attention() -> None:
    """ALiBi between tokens, none for the prefix."""
    model = prefixed("bloom")
    module = model.transformer.h[1].self_attention
    x = torch.randn(2, 5, 16, requires_grad=True)
    visible = torch.ones(2, 1, 5, 5, dtype=torch.bool).tril()
    alibi = torch.tensor([0.5, 0.25]).view(1, 2, 1, 1) * torch.arange(5.0)
    mask = torch.zeros(2, 1, 5, 5).masked_fill(~visible, torch.finfo().min)

    q, k, v = module.query_key_value(x).view(2, 5, 2, 3, 8).permute(3, 0, 2, 1, 4)
    context = dense_attention(q, k, v, module.prefix, visible, 8**-0.5, alibi).flatten(2)
    found = module(x, torch.zeros_like(x), alibi.expand(2, 2, 1, 5).reshape(4, 1, 5), mask)[0]
    check_module(found, module.dense(context), module.prefix, x)


def test_gptjs_attention_against_plain_attention() -> None:
    model = prefixed("gptj")
    module = model.transformer.h[1].attn
    x = torch.randn(2, 2, 5, 8, requires_grad=True)
    visible = torch.ones(2, 1, 5, 5, dtype=torch.bool).tril()
    mask = torch.zeros(2, 1, 5, 5).masked_fill(~visible, torch.finfo().min)
    found = module._attn(x, 2 * x, 3 * x, mask)[0].transpose(1, 2)
    check_module(found, dense_attention(x, 2 * x, 3 * x, module.prefix, visible, 8**-0.5), module.prefix, x)


def test_a_copy_has_prefixes_of_its_own() -> None:
    model, batch = prefixed("deberta-v2"), batch_of("deberta-v2")
    before = run(model, batch)
    other = copy.deepcopy(model)
    for prefix in (module for module in other.modules() if isinstance(module, FlatPrefix)):
        nn.init.zeros_(prefix.value)
    assert not torch.allclose(run(other, batch), before)
    torch.testing.assert_close(run(model, batch), before)


def test_an_attention_that_cannot_take_a_prefix_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("roberta")
    monkeypatch.setattr(type(model), "_can_set_attn_implementation", classmethod(lambda cls: False))
    with pytest.raises(UserError, match="roberta model cannot take a prefix"):
        put_prefixes(model, partial(FlatPrefix, LENGTH))


def test_it_starts_from_eager_attention_too() -> None:
    model = model_of("roberta")
    model.set_attn_implementation("eager")
    expected = run(prefixed("roberta"), batch_of("roberta"))
    torch.manual_seed(1)
    for prefix in put_prefixes(model, partial(FlatPrefix, LENGTH)):
        nn.init.normal_(prefix.key)
        nn.init.normal_(prefix.value)
    torch.testing.assert_close(run(model, batch_of("roberta")), expected)
