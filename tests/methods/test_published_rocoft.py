"""Training as the published code does (scripts/published_rocoft.py): what moves and what does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from rocoft_bench import methods
from rocoft_bench.config import config_root
from rocoft_bench.efficiency.reference_methods import Rebuilt
from rocoft_bench.methods import TASKS_WITH_HEAD
from rocoft_bench.models.parameter_counts import count_parameters, head_parameter_names, is_norm
from rocoft_bench.models.shape_reading import shapes_of
from rocoft_bench.plugins import load_files

from .test_contract import outputs, train

PLUGIN = config_root().parent / "scripts" / "published_rocoft.py"
CLASSIFY = "sequence_classification"
CASES = [
    ("bert", CLASSIFY),
    ("deberta-v2", CLASSIFY),
    ("roberta", "question_answering"),
    ("llama", "causal_lm"),
    ("llama", CLASSIFY),
    ("gptj", "causal_lm"),
]


@pytest.fixture(autouse=True)
def _loaded(forgets_plugins: None) -> None:
    load_files([PLUGIN])


def published(mode: str, rank: int = 3) -> methods.Method:
    return methods.resolve({"name": "published-rocoft", "mode": mode, "rank": rank})


def parts(model: nn.Module, mode: str) -> dict[str, Tensor]:
    """Of a plain model, by the name of a parameter where it is to be trained: True there."""
    found = {name: torch.zeros_like(value, dtype=torch.bool) for name, value in model.named_parameters()}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            lines = found[f"{name}.weight"] if mode == "row" else found[f"{name}.weight"].t()
            lines[:3] = True
            if module.bias is not None:
                found[f"{name}.bias"][:] = True
        elif is_norm(module) and not isinstance(module, nn.LayerNorm):
            found[f"{name}.weight"][:] = True
    return found


@pytest.mark.parametrize("mode", ["row", "column"])
@pytest.mark.parametrize(("model_type", "kind"), CASES)
def test_it_is_counted_learns_saves_loads_and_merges(
    make_model: Callable[..., Any],
    make_batch: Callable[..., Any],
    tmp_path: Path,
    model_type: str,
    kind: str,
    mode: str,
) -> None:
    method, batch, fresh = published(mode), make_batch(kind), make_model(model_type, kind)
    has_head = kind in TASKS_WITH_HEAD
    model = method.apply(make_model(model_type, kind), kind, seed=0)
    counts, shapes, wanted = count_parameters(model, has_head), shapes_of(fresh, has_head), parts(fresh, mode)
    heads = head_parameter_names(fresh) if has_head else set()
    assert counts.head == method.head_parameters(shapes) == sum(int(wanted[name].sum()) for name in heads)
    assert counts.adapter == method.adapter_parameters(shapes)
    assert counts.trainable == sum(int(part.sum()) for part in wanted.values())

    losses = train(method, model, batch)
    assert losses[-1] < losses[0]
    after = outputs(model, batch)
    method.save(model, tmp_path)
    other = make_model(model_type, kind)
    for name in heads:  # as a fresh process would draw it
        nn.init.normal_(other.get_parameter(name))
    merged = method.merge(method.load(other, tmp_path, kind).eval())
    torch.testing.assert_close(outputs(merged, batch), after, atol=1e-5, rtol=1e-4)
    assert type(merged) is type(fresh)
    before = dict(fresh.named_parameters())
    for name, value in merged.named_parameters():
        assert torch.equal(value[~wanted[name]], before[name][~wanted[name]]), name
        assert not wanted[name].any() or not torch.equal(value, before[name]), name


def test_llama_7b_has_the_number_that_the_published_notebooks_print() -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig())  # LLaMA-7B's sizes
    method, shapes = published("column"), shapes_of(model, has_head=False)
    counts = count_parameters(method.apply(model, "causal_lm", seed=0), has_head=False)
    assert counts.trainable == method.adapter_parameters(shapes) == 4_079_616 + 96_000 + 266_240 == 4_441_856


@pytest.mark.parametrize("mode", ["row", "column"])
def test_steps_are_those_of_matrices_put_together_in_each_pass(
    make_model: Callable[..., Any], make_batch: Callable[..., Any], mode: str
) -> None:
    batch, rebuilt = make_batch(CLASSIFY), make_model("bert", CLASSIFY)
    rebuilt.requires_grad_(False)
    for name, linear in list(rebuilt.named_modules()):
        if isinstance(linear, nn.Linear):
            linear.bias.requires_grad_(True)
            parent, _, child = name.rpartition(".")
            setattr(rebuilt.get_submodule(parent), child, Rebuilt(linear, 3, mode))
    ours = published(mode).apply(make_model("bert", CLASSIFY), CLASSIFY, seed=0)
    losses = []
    for model in (ours, rebuilt):
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1)
        losses.append([])
        for _ in range(3):
            loss = model(**batch).loss
            losses[-1].append(loss.item())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    merged = published(mode).merge(ours)
    for name, layer in rebuilt.named_modules():
        if isinstance(layer, Rebuilt):
            linear, weight = merged.get_submodule(name), torch.cat([layer.trained, layer.rest], layer.dim)
            torch.testing.assert_close(linear.weight, weight, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(linear.bias, layer.bias, atol=1e-4, rtol=1e-4)


def test_a_run_of_the_command_line_is_evaluated_and_exported(
    rocoft: Callable[..., Any], tiny_model: Path, glue_dir: Path, tmp_path: Path
) -> None:
    run, plugin = tmp_path / "run", ("--plugin", PLUGIN)
    how = ("--method", "published-rocoft", "--set", "method.mode=column", "--model", tiny_model, "--epochs", 1)
    trained = rocoft("train", "glue", "--task", "rte", *how, "--data-dir", glue_dir, "--output", run, *plugin)
    assert trained.code == 0, trained.err
    record = json.loads((run / "record.json").read_text())
    assert record["label"] == "Published RoCoFT-3-Column"
    blocks, pooler, head = 2 * 3 * (5 * 16 + 32) + 2 * (5 * 16 + 32), 3 * 16 + 16, 3 * 2 + 2
    assert (record["parameters"]["adapter"], record["parameters"]["head"]) == (blocks + pooler, head)
    evaluated = rocoft("evaluate", run, "--data-dir", glue_dir, *plugin)
    assert evaluated.code == 0, evaluated.err
    [again] = [json.loads(file.read_text()) for file in run.glob("evaluations/*/record.json")]
    assert again["metrics"] == record["metrics"]
    exported = rocoft("export", run, "--output", tmp_path / "plain", *plugin)
    assert exported.code == 0, exported.err
    weights = AutoModelForSequenceClassification.from_pretrained(tmp_path / "plain").state_dict()
    assert weights["classifier.weight"].shape == (2, 16)
