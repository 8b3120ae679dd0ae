"""Which entries training changes in BLOOM's fused projection and in GPT-J's plain ones.

BLOOM keeps query, key and value in one matrix of shape (3 d, d), head by head: of head h, rows 3 h k to 3 h k + k - 1
are its query, the next k its key, the next k its value, where k is the width of a head. So "the first 3 rows" are three
rows of the first head's query; no key and no value is trained. A column is an input of all three.

GPT-J has query, key and value in matrices of their own, of shape (d, d), in which k rows after k rows belong to a head.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, BloomConfig, GPTJConfig

from rocoft_bench import RoCoFTConfig

RANK, WIDTH, HEADS = 3, 16, 2
HEAD_WIDTH = WIDTH // HEADS
LINEARS = {
    "bloom": {
        "self_attention.query_key_value": (3 * WIDTH, WIDTH),
        "self_attention.dense": (WIDTH, WIDTH),
        "mlp.dense_h_to_4h": (4 * WIDTH, WIDTH),
        "mlp.dense_4h_to_h": (WIDTH, 4 * WIDTH),
    },
    "gptj": {
        **{f"attn.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")},
        "mlp.fc_in": (4 * WIDTH, WIDTH),
        "mlp.fc_out": (WIDTH, 4 * WIDTH),
    },
}


def build(kind: str) -> Any:
    torch.manual_seed(0)
    options = {"vocab_size": 40, "n_layer": 2, "n_head": HEADS, "pad_token_id": 0, "initializer_range": 0.2}
    if kind == "bloom":
        config: Any = BloomConfig(hidden_size=WIDTH, hidden_dropout=0.0, attention_dropout=0.0, **options)
    else:
        config = GPTJConfig(
            n_embd=WIDTH, rotary_dim=4, n_positions=32, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **options
        )
    return AutoModelForCausalLM.from_config(config)


def trained(kind: str, mode: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights of the plain model before, and after one step of training and merging."""
    model = build(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = get_peft_model(model, RoCoFTConfig(rank=RANK, mode=mode, task_type="CAUSAL_LM"))
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], lr=1.0)
    ids = torch.randint(1, 40, (4, 9), generator=torch.Generator().manual_seed(1))
    adapted(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
    optimizer.step()
    return before, adapted.merge_and_unload().state_dict()


@pytest.mark.parametrize("kind", LINEARS)
@pytest.mark.parametrize("mode", ["row", "column"])
def test_the_first_rows_or_columns_change_and_nothing_else(kind: str, mode: str) -> None:
    before, after = trained(kind, mode)
    assert before.keys() == after.keys()
    for name, old in before.items():
        changed = after[name] != old
        linear = name.removeprefix("transformer.h.").partition(".")[2].removesuffix(".weight")
        if linear not in LINEARS[kind]:
            assert not changed.any(), name
            continue
        assert tuple(old.shape) == LINEARS[kind][linear]
        rows, columns = changed.any(1).nonzero().flatten().tolist(), changed.any(0).nonzero().flatten().tolist()
        trained_ones, others = (rows, columns) if mode == "row" else (columns, rows)
        assert trained_ones == list(range(RANK)), name
        assert len(others) > RANK, name


def test_the_first_rows_of_the_fused_matrix_are_a_query_of_the_first_head() -> None:
    before, after = trained("bloom", "row")
    block = build("bloom").transformer.h[0].self_attention
    hidden = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(2))
    name = "transformer.h.0.self_attention.query_key_value.weight"
    heads = []
    for weights in (before, after):
        block.query_key_value.weight.data = weights[name]
        heads.append(block._reshape(block.query_key_value(hidden)))  # query, key, value: (1, heads, 5, head width)
    (query, key, value), (new_query, new_key, new_value) = heads
    assert torch.equal(key, new_key)
    assert torch.equal(value, new_value)
    changed = (query != new_query)[0].any(1)  # (heads, head width)
    assert changed.nonzero().tolist() == [[0, 0], [0, 1], [0, 2]]
    assert HEAD_WIDTH > RANK
