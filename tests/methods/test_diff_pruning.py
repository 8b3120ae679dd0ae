"""Diff pruning against direct computations: the gates, what is left after training, the stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rocoft_bench import methods
from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.trainer import make_optimizer
from rocoft_bench.errors import UserError
from rocoft_bench.methods.modules.gated_change import GatedChange, gated_changes, largest
from rocoft_bench.models import paper_model
from rocoft_bench.models.parameter_counts import head_parameter_names
from rocoft_bench.models.shape_reading import shapes_of

from .crashed_runs import KIND, STEPS, crashed_and_whole


def diff_pruning(**settings: Any) -> methods.Method:
    return methods.resolve({"name": "diff-pruning", **settings})


def randomised(model: nn.Module) -> dict[str, GatedChange]:
    """Changes and gates of some size, with noise."""
    torch.manual_seed(1)
    changes = gated_changes(model)
    for change in changes.values():
        nn.init.normal_(change.change, std=0.1)
        nn.init.normal_(change.log_alpha)
        nn.init.normal_(change.tensor_log_alpha, mean=2.0)
        change.sample()
    return changes


def by_formula(u: Tensor, alpha: Tensor) -> Tensor:
    """A hard-concrete gate with l = -1.5 and r = 1.5."""
    s = torch.sigmoid(torch.log(u) - torch.log(1 - u) + alpha)
    return torch.clamp(s * 3.0 - 1.5, 0.0, 1.0)


@pytest.mark.parametrize("training", [True, False])
def test_forward_and_gradients_are_those_of_the_formula(
    training: bool, make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """The loss with θ₀ + z z_τ ⊙ w in place of each parameter, z from the same u; in evaluation u is 1/2."""
    plain, batch = make_model("roberta", KIND), make_batch(KIND)
    model = diff_pruning().apply(make_model("roberta", KIND), KIND, seed=0).train(training)
    theta, leaves = dict(plain.named_parameters()), {}
    for name, change in randomised(model).items():
        assert change.noise is not None
        u, tensor_u = (torch.sigmoid(noise) if training else torch.full_like(noise, 0.5) for noise in change.noise)
        own = change.change, change.log_alpha, change.tensor_log_alpha
        w, alpha, tensor_alpha = leaves[name] = [p.detach().clone().requires_grad_() for p in own]
        theta[name] = theta[name].detach() + by_formula(u, alpha) * by_formula(tensor_u, tensor_alpha) * w
    loss, reference = model(**batch).loss, torch.func.functional_call(plain, theta, (), batch).loss
    torch.testing.assert_close(loss, reference)
    loss.backward()
    reference.backward()
    for name, change in gated_changes(model).items():
        for parameter, leaf in zip(
            (change.change, change.log_alpha, change.tensor_log_alpha), leaves[name], strict=True
        ):
            if leaf.grad is None:
                assert parameter.grad is None
            else:
                torch.testing.assert_close(parameter.grad, leaf.grad, atol=1e-6, rtol=1e-4)
    assert sum(leaf[1].grad.ne(0).sum() for leaf in leaves.values() if leaf[1].grad is not None) > 1000


def test_expected_l0_is_its_closed_form_and_the_frequency_of_open_gates() -> None:
    torch.manual_seed(0)
    change = GatedChange(torch.zeros(40, 5)).train()
    nn.init.ones_(change.change)
    nn.init.normal_(change.log_alpha)
    nn.init.constant_(change.tensor_log_alpha, 0.8)
    expected = change.expected_l0()
    closed = sum(1 / (1 + torch.exp(-a)) for a in change.log_alpha.flatten()) / (1 + torch.exp(torch.tensor(-0.8)))
    torch.testing.assert_close(expected.squeeze(), closed.squeeze())
    counts = []
    for _ in range(3000):
        change.sample()
        counts.append((change(torch.zeros(40, 5)) != 0).sum().item())
    assert sum(counts) / len(counts) == pytest.approx(expected.item(), rel=0.04)


def test_the_penalty_is_weighted_and_ends_with_pruning(make_model: Callable[..., Any]) -> None:
    method = diff_pruning(l0_penalty=0.5)
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    hooks = method.hooks(model, TrainingConfig(), 10)
    parameters = shapes_of(make_model("roberta", KIND), True).total
    both_open = torch.sigmoid(torch.tensor(5.0)).item() ** 2
    extra = hooks.extra_loss()
    assert extra is not None
    assert extra.item() == pytest.approx(0.5 * parameters * both_open, rel=1e-5)
    hooks.started(torch.optim.SGD([model.get_parameter("classifier.dense.weight")]))
    hooks.before_step(6)
    assert hooks.extra_loss() is None


def test_counts_on_roberta_base() -> None:
    """1.24M, the paper's figure, is what is left."""
    method = diff_pruning()
    model = paper_model("roberta-base", "AutoModelForSequenceClassification")
    shapes = shapes_of(model, True)
    assert shapes.total == 124_055_040
    assert method.reported_parameters(shapes) == 1_240_550
    assert method.adapter_parameters(shapes) == 2 * 124_055_040 + 197
    applied = method.apply(model, KIND, seed=0)
    assert method.stored_parameters(applied, 248_110_277) == 1_240_550


def train(method: methods.Method, model: Any, batch: dict[str, Tensor], count: int, until: int | None = None) -> Any:
    settings = TrainingConfig(learning_rate=0.01)
    hooks = method.hooks(model, settings, count)
    optimizer = make_optimizer(model, settings, hooks)
    hooks.started(optimizer)
    model.train()
    for step in range(1, (until or count) + 1):
        hooks.before_step(step)
        loss, extra = model(**batch).loss, hooks.extra_loss()
        (loss if extra is None else loss + extra).backward()
        hooks.after_backward(step)
        optimizer.step()
        hooks.after_step(step)
        optimizer.zero_grad()
    return hooks


@pytest.mark.parametrize("sparsity", [0.01, 0.1])
@pytest.mark.parametrize("reload", [False, True])
def test_exactly_the_requested_share_differs(
    sparsity: float, reload: bool, make_model: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    """Over all tensors outside the head; everything else is bit-identical."""
    method, fresh = diff_pruning(sparsity=sparsity), make_model("roberta", KIND)
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    train(method, model, make_batch(KIND), 8)
    count = round(sparsity * shapes_of(fresh, True).total)
    changes = {name: change.difference().detach() for name, change in gated_changes(model).items()}
    masks = [change.mask for change in gated_changes(model).values()]
    assert sum(int(mask.sum()) for mask in masks) == count == method.stored_parameters(model, 0)
    if reload:
        method.save(model, tmp_path)
        model = method.load(make_model("roberta", KIND), tmp_path, KIND)
    merged = method.merge(model)
    differing = 0
    for name, parameter in fresh.named_parameters():
        if name not in head_parameter_names(fresh):
            assert torch.equal(merged.get_parameter(name), parameter + changes[name])
            differing += int((changes[name] != 0).sum())
    assert differing == count


def test_pruning_keeps_the_largest_and_starts_the_optimizer_afresh(
    make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    method = diff_pruning(sparsity=0.05)
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    hooks = train(method, model, make_batch(KIND), 8, until=4)
    assert hooks.optimizer.state
    before = {name: change.difference().detach() for name, change in gated_changes(model).items()}
    hooks.before_step(5)
    assert not hooks.optimizer.state
    everything = torch.cat([difference.flatten() for difference in before.values()])
    count = round(0.05 * len(everything))
    threshold = everything.abs().sort(descending=True).values[count - 1]
    for name, change in gated_changes(model).items():
        expected = torch.where(before[name].abs() >= threshold, before[name], 0.0)
        torch.testing.assert_close(change.change.detach(), expected, atol=0, rtol=0)
        torch.testing.assert_close(change.difference().detach(), expected, atol=0, rtol=0)


def test_ties_do_not_break_the_count() -> None:
    masks = largest([torch.ones(5), torch.zeros(7), torch.ones(4)], 6)
    assert [len(mask) for mask in masks] == [5, 7, 4]
    assert sum(int(mask.sum()) for mask in masks) == 6
    assert not masks[1].any()


def test_the_gates_of_a_step_are_drawn_once(make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    batch = make_batch(KIND)
    model = diff_pruning().apply(make_model("roberta", KIND), KIND, seed=0).train()
    changes = randomised(model)
    first, again = model(**batch).loss, model(**batch).loss
    assert torch.equal(first, again)
    for change in changes.values():
        change.sample()
    assert not torch.equal(first, model(**batch).loss)


def test_gradients_are_the_same_with_gradient_checkpointing(
    make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = diff_pruning().apply(make_model("roberta", KIND), KIND, seed=0).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        randomised(model)
        model(**make_batch(KIND)).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(gradients[0], gradients[1])


def test_parameters_that_modules_share_change_together(
    make_model: Callable[..., Any], make_batch: Callable[..., Any]
) -> None:
    """BART's embedding is also its output matrix: one change, in the gradient of both, merged once."""
    method, kind = diff_pruning(sparsity=1.0), "seq2seq_lm"
    model = method.apply(make_model("bart", kind), kind, seed=0)
    change = gated_changes(model)["model.shared.weight"]
    nn.init.normal_(change.change, std=0.1)
    fresh = make_model("bart", kind)
    expected = fresh.model.shared.weight.detach() + change.difference().detach()
    assert torch.equal(model.lm_head.weight, expected)
    assert torch.equal(model.model.decoder.embed_tokens.weight, expected)
    model(**make_batch(kind)).loss.backward()
    with torch.no_grad():
        fresh.model.shared.weight.copy_(expected)
    fresh(**make_batch(kind)).loss.backward()
    gate = by_formula(torch.tensor(0.5), torch.tensor(5.0)) ** 2
    torch.testing.assert_close(change.change.grad, gate * fresh.model.shared.weight.grad)
    merged = method.merge(model)
    assert torch.equal(merged.lm_head.weight, expected)
    assert merged.lm_head.weight is merged.model.shared.weight


def test_a_strong_penalty_closes_gates(make_model: Callable[..., Any], make_batch: Callable[..., Any]) -> None:
    method = diff_pruning(l0_penalty=1.0, gate_learning_rate=1.0)
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    train(method, model, make_batch(KIND), 40, until=20)
    open_gates = [(change.difference() != 0).float().mean().item() for change in gated_changes(model).values()]
    assert max(open_gates) < 0.01


def test_each_stage_has_a_schedule_of_its_own(make_model: Callable[..., Any]) -> None:
    method = diff_pruning(mask_share=0.3)
    hooks = method.hooks(method.apply(make_model("roberta", KIND), KIND, seed=0), TrainingConfig(), 10)
    assert [hooks.stage(step, 10) for step in (0, 2, 3, 9)] == [(0, 3), (2, 3), (0, 7), (6, 7)]
    assert [hooks.rate_scale(step) for step in (0, 2, 3, 9)] == [1.0, 1.0, 5.0, 5.0]


@pytest.mark.parametrize(("share", "steps", "expected"), [(0.01, 10, 1), (0.99, 10, 9), (0.5, 2, 1), (0.5, 1, 0)])
def test_each_stage_has_a_step_where_there_are_two(share: float, steps: int, expected: int) -> None:

    hooks: Any = diff_pruning(mask_share=share).hooks(nn.Linear(2, 2), TrainingConfig(), steps)
    assert hooks.gated_steps == expected


def test_gates_have_a_learning_rate_of_their_own(make_model: Callable[..., Any]) -> None:
    method = diff_pruning()
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    settings = TrainingConfig(learning_rate=0.01, weight_decay=0.3)
    groups = make_optimizer(model, settings, method.hooks(model, settings, 10)).param_groups
    options = {id(p): (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    change = gated_changes(model)["roberta.encoder.layer.0.attention.self.query.weight"]
    assert options[id(change.change)] == (0.01, 0.3)
    assert options[id(change.log_alpha)] == options[id(change.tensor_log_alpha)] == (0.1, 0.0)
    bias = gated_changes(model)["roberta.encoder.layer.0.attention.self.query.bias"]
    assert options[id(bias.change)] == (0.01, 0.0)


def test_a_half_precision_base_is_changed_in_float32(
    make_model: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    method, batch = diff_pruning(sparsity=0.1), make_batch(KIND)
    model = method.apply(make_model("roberta", KIND).bfloat16(), KIND, seed=0)
    train(method, model, batch, 6)
    method.save(model, tmp_path)
    loaded = method.load(make_model("roberta", KIND).bfloat16(), tmp_path, KIND).eval()
    assert torch.equal(loaded(**batch).logits, model.eval()(**batch).logits)


@pytest.mark.parametrize("crash_at", [5, STEPS // 2 + 1, STEPS // 2 + 2, STEPS])
def test_a_crashed_run_goes_on_to_the_identical_result(
    crash_at: int, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    """While gates are learned, right before pruning, right after it, and near the end."""
    crashed_and_whole(diff_pruning(sparsity=0.05), make_model, tmp_path, crash_at)


def test_a_file_of_another_model_is_refused(
    make_model: Callable[..., Any], make_batch: Callable[..., Any], tmp_path: Path
) -> None:
    method = diff_pruning()
    model = method.apply(make_model("roberta", KIND), KIND, seed=0)
    method.save(model, tmp_path)
    with pytest.raises(UserError, match=r"trained\.safetensors: bert\.\S+ is missing"):
        method.load(make_model("bert", KIND), tmp_path, KIND)
