"""On a base in 16 bits every method trains, saves and loads its values in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.trainer import make_optimizer

from .test_contract import outputs, resolved, train


@pytest.mark.parametrize(("model_type", "kind"), [("roberta", "sequence_classification"), ("llama", "causal_lm")])
@pytest.mark.parametrize("name", methods.METHODS)
def test_what_is_trained_is_float32_all_the_way(
    name: str,
    model_type: str,
    kind: str,
    make_model: Callable[..., Any],
    make_batch: Callable[..., Any],
    tmp_path: Path,
) -> None:
    method, batch = resolved(name, model_type, kind), make_batch(kind)
    model = method.apply(make_model(model_type, kind).bfloat16(), kind, seed=0)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    if name != "full":
        assert any(p.dtype == torch.bfloat16 for p in model.parameters())
    losses = train(method, model, batch)
    assert min(losses[1:]) < losses[0]
    after = outputs(model, batch)
    assert after.dtype == torch.bfloat16
    method.save(model, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    saved = load_file(file)
    assert {value.dtype for value in saved.values() if value.is_floating_point()} == {torch.float32}
    loaded = method.load(make_model(model_type, kind).bfloat16(), tmp_path, kind).eval()
    torch.testing.assert_close(outputs(loaded, batch), after, rtol=0, atol=0)
    if name == "diff-pruning":
        return  # is loaded as a plain model
    method.save(loaded, tmp_path / "again")
    for key, value in load_file(tmp_path / "again" / file.name).items():
        torch.testing.assert_close(value, saved[key], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("name", "model_type", "kind"),
    [
        ("full", "deberta-v2", "question_answering"),
        ("full", "bart", "seq2seq_lm"),
        ("full", "gptj", "causal_lm"),
        ("bitfit", "bloom", "causal_lm"),
    ],
)
def test_small_steps_move_a_models_own_values(
    name: str,
    model_type: str,
    kind: str,
    dtype: torch.dtype,
    make_model: Callable[..., Any],
    make_batch: Callable[..., Any],
) -> None:
    """Steps of 2e-5 are below the precision of most 16-bit values; all those with a gradient that counts move."""
    method, batch = methods.resolve({"name": name}), make_batch(kind)
    model = method.apply(make_model(model_type, kind).to(dtype), kind, seed=0)
    settings = TrainingConfig(learning_rate=2e-5)
    optimizer = make_optimizer(model, settings, method.hooks(model, settings, 1))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model(**batch).loss.backward()
    optimizer.step()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    still = {name for name, p in trained.items() if ((p == before[name]) & (p.grad.abs() > 1e-6)).any()}
    assert trained
    assert not still


def test_float16_is_trained_with_a_loss_scaler(make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    """torch refuses to unscale gradients in float16."""
    kind = "sequence_classification"
    method, batch = methods.resolve({"name": "full"}), make_batch(kind)
    model = method.apply(make_model("roberta", kind).half(), kind, seed=0)
    scaler = torch.amp.GradScaler("cpu")
    optimizer = torch.optim.AdamW(model.parameters())
    with torch.autocast("cpu", torch.float16):
        loss = model(**batch).loss
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_an_error_leaves_the_values_in_place(make_model: Callable[..., Any]) -> None:
    kind = "causal_lm"
    model = methods.resolve({"name": "full"}).apply(make_model("llama", kind).bfloat16(), kind, seed=0)
    with pytest.raises(RuntimeError):
        model.lm_head(torch.zeros(1, 3, dtype=torch.bfloat16))  # of another width
    assert {p.dtype for p in model.parameters()} == {torch.float32}
