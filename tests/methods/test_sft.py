"""SFT against direct computations: the layer, the choice of entries, the optimizer, and whole trainings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.errors import UserError
from rocoft_bench.methods.modules.sparse_linear import AgedAdamW, Candidates, SparseLinear
from rocoft_bench.methods.modules.wrappers import modules_of
from rocoft_bench.methods.sft import proportional
from rocoft_bench.models import paper_model
from rocoft_bench.models.shape_reading import shapes_of

from .crashed_runs import KIND, STEPS, crashed_and_whole

ROUNDS = {"budget": 600, "reselection_steps": 4, "accumulation_steps": 2, "reselection_rate": 0.5}


def sft(**settings: Any) -> methods.Method:
    return methods.resolve({"name": "sft", **ROUNDS, **settings})


def layer(count: int = 12, dtype: torch.dtype = torch.float32) -> SparseLinear:
    """(5, 8), with random entries of random values."""
    torch.manual_seed(0)
    made = SparseLinear(nn.Linear(8, 5).requires_grad_(False).to(dtype), count)
    made.indices.copy_(torch.randperm(40)[:count])
    nn.init.normal_(made.values)
    return made


def dense(made: SparseLinear) -> Tensor:
    """W + Δ, made in another way, with gradients."""
    rows, columns = made.indices.long() // made.d_in, made.indices.long() % made.d_in
    return made.matrix.index_put((rows, columns), made.values, accumulate=True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, 900_000), ({"budget": None}, 311_618), ({"budget": 1}, 1), ({"budget": 7_777}, 7_777)],
)
def test_counts_on_roberta_base(settings: dict[str, Any], expected: int) -> None:
    method = methods.resolve({"name": "sft", **settings}, model="roberta-base")
    assert (
        method.adapter_parameters(shapes_of(paper_model("roberta-base", "AutoModelForSequenceClassification"), True))
        == expected
    )


def test_shares_are_proportional_and_their_sum_is_exact() -> None:
    assert proportional(10, [1, 1, 1]) == [4, 3, 3]
    assert proportional(7, [50, 30, 20]) == [4, 2, 1]
    assert proportional(100, [50, 30, 20]) == [50, 30, 20]
    sizes = [97, 13, 1, 55, 34]
    for total in range(sum(sizes) + 1):
        counts = proportional(total, sizes)
        assert sum(counts) == total
        assert all(abs(count - total * size / sum(sizes)) < 1 for count, size in zip(counts, sizes, strict=True))
        assert all(count <= size for count, size in zip(counts, sizes, strict=True))


def test_more_entries_than_there_are(make_model: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match="1,000,000 trained entries"):
        sft(budget=1_000_000).apply(make_model("roberta", KIND), KIND, seed=0)


@pytest.mark.parametrize("collecting", [False, True])
def test_the_layer_is_a_linear_of_the_changed_matrix(collecting: bool) -> None:
    made = layer()
    made.collecting = collecting
    x, reference_x = (torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in "ab")
    weights = torch.randn(2, 3, 5)
    y = made(x)
    (y * weights).sum().backward()
    grad, made.values.grad = made.values.grad, None
    reference = F.linear(reference_x, dense(made), made.bias)
    (reference * weights).sum().backward()
    torch.testing.assert_close(y, reference)
    torch.testing.assert_close(grad, made.values.grad)
    torch.testing.assert_close(x.grad, reference_x.grad)


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_bases(autocast: bool) -> None:
    made = layer(dtype=torch.bfloat16)
    made.collecting = True
    x = torch.randn(6, 8, dtype=torch.float32 if autocast else torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = made(x)
    y.float().pow(2).sum().backward()
    assert (y.dtype, made.values.grad.dtype) == (torch.bfloat16, torch.float32)
    reference = F.linear(x.float(), dense_in_float(made), made.bias.float())
    torch.testing.assert_close(y.float(), reference, atol=0.05, rtol=0.05)


def dense_in_float(made: SparseLinear) -> Tensor:
    flat = made.matrix.float().flatten()
    return flat.index_add(0, made.indices, made.values.detach()).view(made.d_out, made.d_in)


def test_candidates_are_the_largest_entries_of_the_first_dense_gradient() -> None:
    made = layer()
    made.collecting = True
    weight = dense(made).detach().requires_grad_()
    totals, squares = torch.zeros(40), torch.zeros(40)
    first = None
    for _ in range(3):
        in_step = torch.zeros(40)
        for _ in range(2):
            x, target = torch.randn(7, 8), torch.randn(7, 5)
            (made(x) - target).pow(2).sum().backward()
            (gradient,) = torch.autograd.grad((F.linear(x, weight, made.bias) - target).pow(2).sum(), weight)
            first = gradient.flatten() if first is None else first
            in_step += gradient.flatten()
        assert made.candidates is not None
        made.candidates.end_step()
        totals, squares = totals + in_step, squares + in_step**2
    assert first is not None
    chosen = made.candidates.indices.long()
    assert set(chosen.tolist()) == set(first.abs().topk(12).indices.tolist())
    torch.testing.assert_close(made.candidates.total, totals[chosen])
    torch.testing.assert_close(made.candidates.squares, squares[chosen])


def reselected(values: dict[int, float], candidates: dict[int, float], share: float) -> dict[int, float]:
    """The rule in terms of sets: entries and their values afterwards."""
    count = int(share * len(values))
    dropped = sorted(values, key=lambda i: abs(values[i]))[:count]
    possible = [i for i in candidates if i not in values or i in dropped]
    grown = sorted(possible, key=lambda i: -abs(candidates[i]))[:count]
    leaving = [i for i in dropped if i not in grown][: len([i for i in grown if i not in dropped])]
    return {i: v for i, v in values.items() if i not in leaving} | {i: 0.0 for i in grown if i not in dropped}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_reselection_follows_the_rule(share: float, seed: int) -> None:
    made = layer(count=16)
    torch.manual_seed(seed)
    nn.init.normal_(made.values)
    candidates = Candidates(torch.randperm(40)[:16].to(torch.int32), torch.randn(16), torch.rand(16))
    before = dict(zip(made.indices.tolist(), made.values.tolist(), strict=True))
    sums = dict(zip(candidates.indices.tolist(), candidates.total.tolist(), strict=True))
    positions, chosen = made.reselect(share, candidates)
    assert dict(zip(made.indices.tolist(), made.values.tolist(), strict=True)) == reselected(before, sums, share)
    assert torch.equal(made.indices[positions], candidates.indices[chosen])


def test_without_reselection_the_optimizer_is_adamw() -> None:
    torch.manual_seed(0)
    start, target = torch.randn(4, 3), torch.randn(4, 3)
    ours, reference = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    options = {"lr": 0.01, "weight_decay": 0.1}
    optimizers = AgedAdamW([ours], **options), torch.optim.AdamW([reference], **options)
    for _ in range(50):
        for parameter, optimizer in zip((ours, reference), optimizers, strict=True):
            optimizer.zero_grad()
            (parameter - target).pow(4).sum().backward()
            optimizer.step()
    assert (ours - reference).abs().max() < 1e-6


def test_a_seeded_entry_goes_on_from_its_own_age() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    optimizer = AgedAdamW([parameter], lr=0.1, weight_decay=0.0)
    for _ in range(7):
        parameter.grad = torch.ones(3)
        optimizer.step()
    before = parameter.detach().clone()
    optimizer.seed(parameter, torch.tensor([1]), 5, torch.tensor([0.3]), torch.tensor([0.2]))
    parameter.grad = torch.tensor([1.0, 2.0, 1.0])
    optimizer.step()
    mean = 0.9 * 0.3 * (1 - 0.9**5) + 0.1 * 2.0
    square = 0.999 * 0.2 * (1 - 0.999**5) + 0.001 * 4.0
    expected = 0.1 * (mean / (1 - 0.9**6)) / (square / (1 - 0.999**6)) ** 0.5
    moved = before - parameter.detach()
    torch.testing.assert_close(moved, torch.tensor([0.1, expected, 0.1]), atol=1e-5, rtol=1e-5)


def steps(
    method: methods.Method, model: Any, batch: dict[str, Tensor], count: int, seen: Callable[[int], None]
) -> None:
    settings = TrainingConfig(learning_rate=0.01)
    hooks = method.hooks(model, settings, count)
    optimizer = make_optimizer(model, settings, hooks)
    hooks.started(optimizer)
    for step in range(1, count + 1):
        hooks.before_step(step)
        model(**batch).loss.backward()
        hooks.after_backward(step)
        optimizer.step()
        hooks.after_step(step)
        optimizer.zero_grad()
        seen(step)


def test_entries_change_on_schedule_and_keep_the_budget(
    make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """Whatever has been dropped and grown: as many entries as planned differ, and all others are bit-identical."""
    method = sft()
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    layers = modules_of(model, SparseLinear)
    last = {name: set(layer.indices.tolist()) for name, layer in layers.items()}
    changes: dict[int, int] = {}

    def look(step: int) -> None:
        for name, layer in layers.items():
            now = set(layer.indices.tolist())
            assert len(now) == len(last[name]) == len(layer.values)
            changes[step] = changes.get(step, 0) + len(now - last[name])
            last[name] = now

    steps(method, model, make_batch(KIND), 12, look)
    assert [step for step, count in changes.items() if count] == [2, 6, 10]
    assert changes[2] > 450  # nearly all, the first time
    assert changes[6] <= sum(int(0.5 * (1 - 6 / 12) * len(layer.values)) for layer in layers.values())
    assert changes[10] <= sum(int(0.5 * (1 - 10 / 12) * len(layer.values)) for layer in layers.values())
    assert sum(map(len, last.values())) == 600

    values = {name: layer.values.detach().clone() for name, layer in layers.items()}
    assert all(layer.candidates is None and not layer.collecting for layer in layers.values())
    merged, fresh = method.merge(model), make_model("roberta", KIND)
    for name, parameter in fresh.named_parameters():
        touched = set(torch.nonzero((merged.get_parameter(name) != parameter).flatten()).flatten().tolist())
        stem = name.removesuffix(".weight")
        if stem in last:
            assert touched <= last[stem]
            assert len(touched) >= int((values[stem].abs() > 1e-6).sum())
        elif not name.startswith("classifier"):
            assert not touched


def test_candidates_are_the_same_with_gradient_checkpointing(
    make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(3)
        method = sft(accumulation_steps=4)
        model = method.apply(make_model("roberta", KIND), KIND, seed=0).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        steps(method, model, make_batch(KIND), 4, lambda step: None)
        layers = modules_of(model, SparseLinear)
        found.append({name: (layer.indices, layer.values.detach()) for name, layer in layers.items()})
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("crash_at", [2, 5, 6, 7, STEPS])
def test_a_crashed_run_goes_on_to_the_identical_result(
    crash_at: int, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    """From a checkpoint in the middle of a selection phase (2, 6), before one, after one, and near the end."""
    crashed_and_whole(sft(), make_model, tmp_path, crash_at)


@pytest.mark.parametrize(("settings", "message"), [({"precision": "fp16"}, "fp16"), ({"keep": "best"}, "keep")])
def test_trainings_that_it_refuses(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sft().check_training(TrainingConfig(**settings))


def test_phases_must_fit_between_selections() -> None:
    with pytest.raises(UserError, match="accumulation_steps must not exceed"):
        sft(accumulation_steps=5)
