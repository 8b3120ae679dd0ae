"""Every kernel equals that of explicit per-example gradients, whatever the architecture, padding and batches."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from rocoft_bench.errors import UserError
from rocoft_bench.models.parameter_counts import is_norm
from rocoft_bench.ntk.kernel_settings import SET_NAMES, KernelSettings
from rocoft_bench.ntk.kernels import SETS, Capturer, GradientProducts, Parameters, Readout, make_set, size_of
from rocoft_bench.ntk.kernels.captured import Matrix
from rocoft_bench.ntk.kernels.gradient_products import SCRATCH
from rocoft_bench.ntk.kernels.views import Whole, products, token_gram, weighted_sum
from tests.ntk.models import IDS, KINDS, WORDS, dense_gradients, examples, gram, tiny

CHOICES = KernelSettings(task="mr", rank=2, selection="random", fraction=0.2, lora_rank=3, seed=5)
EXACT = 1e-10


@cache
def model_of(kind: str) -> Any:
    return tiny(kind)


def capturer_of(kind: str, outputs: int = 2, tied: bool = True, model: Any = None) -> Capturer:
    own = Capturer(model or model_of(kind), Readout.of_words(WORDS[:outputs]), IDS["pad_token_id"], tied)
    own.check(examples(3))
    return own


def parameters_of(capturer: Capturer) -> Parameters:
    keys = tuple(capturer.capture(examples(1), 1).parameters)
    return Parameters(capturer.model, keys, capturer.parameter_of)


def sets_of(capturer: Capturer, choices: KernelSettings = CHOICES) -> dict[str, Any]:
    own = parameters_of(capturer)
    lacks = {"biases": not any(key.endswith("bias") for key in own.keys), "head": not any(map(own.in_head, own.keys))}
    names = [name for name in SETS if name != "trained" and not lacks.get(name)]
    return {name: make_set(name, own, choices) for name in names}


def kernels(capturer: Capturer, batch_size: int = 5, scratch: int = SCRATCH, **choices: Any) -> dict[str, Tensor]:
    engine = GradientProducts(sets_of(capturer, CHOICES.model_copy(update=choices)), scratch=scratch)
    return engine.kernels(capturer.capture(examples(), batch_size))


def is_equal(found: Tensor, expected: Tensor, tolerance: float = EXACT) -> bool:
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def dense_kernels(kind: str, outputs: int, choices: KernelSettings = CHOICES) -> dict[str, Tensor]:
    """Kernels of all sets from explicit gradients."""
    model = model_of(kind)
    capturer = Capturer(model, Readout.of_words(WORDS[:outputs]), IDS["pad_token_id"])
    gradients = dense_gradients(model, examples(), WORDS[:outputs])
    capturer.check(examples(3))
    found = {}
    for name, parts in sets_of(capturer, choices).items():
        own = {key: _matrix(model, key, gradients[key]) for key in parts}
        found[name] = gram(*[_part(view, own[key], model, key) for key, view in parts.items()])
    return found


def _matrix(model: Any, name: str, gradient: Tensor) -> Tensor:
    is_turned = isinstance(model.get_submodule(name.rpartition(".")[0]), Conv1D) and gradient.dim() == 4
    return gradient.transpose(-1, -2) if is_turned else gradient


def _part(view: Any, gradient: Tensor, model: Any, key: str) -> Tensor:
    """What a view means, said of the gradient itself."""
    kind = type(view).__name__
    if kind == "Whole":
        return gradient
    if kind == "Lines":
        return gradient[:, :, list(view.indices)] if view.are_rows else gradient[..., list(view.indices)]
    if kind == "Entries":
        return gradient.flatten(2)[..., view.indices]
    if kind == "Projected":
        return gradient @ view.factor.t()
    weight = _matrix(model, key, model.get_parameter(key)[None, None])[0, 0]
    if kind == "InputScale":  # y = W (l * x): dy/dl_j = W[:, j] x_j
        return (gradient * weight).sum(-2)
    bias = model.get_submodule(key.rpartition(".")[0]).bias  # y = l * (W x + b)
    of_bias = (
        0
        if bias is None
        else dense_gradients(model, examples(), WORDS[: gradient.shape[1]])[key.removesuffix("weight") + "bias"] * bias
    )
    return (gradient * weight).sum(-1) + of_bias


@pytest.mark.parametrize("outputs", [1, 2, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kernel_is_that_of_explicit_gradients(kind: str, outputs: int) -> None:
    expected = dense_kernels(kind, outputs)
    found = kernels(capturer_of(kind, outputs))
    assert found.keys() == expected.keys()
    for name, kernel in found.items():
        assert is_equal(kernel, expected[name]), name
        assert torch.linalg.eigvalsh(kernel).min() >= -1e-10 * kernel.trace()
        assert is_equal(kernel, kernel.t())


@pytest.mark.parametrize("kind", KINDS)
def test_in_float32_they_are_as_exact_as_that_allows(kind: str) -> None:
    expected = dense_kernels(kind, 2)
    found = kernels(capturer_of(kind, model=tiny(kind, torch.float32)))
    for name, kernel in found.items():
        assert is_equal(kernel, expected[name], 1e-4), name


def test_batches_blocks_and_pieces_change_nothing() -> None:
    whole = kernels(capturer_of("roberta"))
    for batch_size, scratch in ((1, SCRATCH), (2, 100), (5, 7)):
        for name, kernel in kernels(capturer_of("roberta"), batch_size, scratch).items():
            assert is_equal(kernel, whole[name]), (name, batch_size)
    capturer = capturer_of("roberta")
    engine = GradientProducts(sets_of(capturer))
    first, second = capturer.capture(examples()[:2], 2), capturer.capture(examples()[2:], 3)
    for name, kernel in engine.kernels(first, second).items():
        assert is_equal(kernel, whole[name][:4, 4:]), name


def test_a_model_whose_examples_meet_goes_one_by_one() -> None:
    """DeBERTa projects its relative positions once for a batch, and takes them from an embedding by its weight."""
    capturer = capturer_of("deberta")
    assert capturer.one_by_one
    assert list(capturer.direct) == ["deberta.encoder.rel_embeddings.weight"]
    assert not capturer_of("roberta").one_by_one


@pytest.mark.parametrize("kind", ["deberta1", "bart", "fnet"])
def test_what_a_model_does_with_its_layers_is_found_out(kind: str) -> None:
    """DeBERTa changes what a layer has put out in place, BART's positions are an embedding that takes no ids, and FNet
    mixes an example with its padding.
    """
    gradients = dense_gradients(model_of(kind), examples(), WORDS[:2])
    capturer = capturer_of(kind)
    engine = GradientProducts({"full": make_set("full", parameters_of(capturer), CHOICES)})
    assert is_equal(engine.kernels(capturer.capture(examples(), 5))["full"], gram(*gradients.values()))


def test_untied_means_without_the_cross_terms() -> None:
    gradients = dense_gradients(model_of("roberta"), examples(), WORDS[:2])
    tied, untied = kernels(capturer_of("roberta")), kernels(capturer_of("roberta", tied=False))
    name = "roberta.embeddings.word_embeddings.weight"
    rest = gram(*[gradient for key, gradient in gradients.items() if key != name])
    assert is_equal(tied["full"], rest + gram(gradients[name]))
    # the decoder's own gradient is that of an untied model with the same values
    twin = tiny("roberta-untied")
    twin.load_state_dict({**model_of("roberta").state_dict()})
    apart = gram(*dense_gradients(twin, examples(), WORDS[:2]).values())
    assert is_equal(untied["full"], apart)
    assert not is_equal(untied["full"], tied["full"], 1e-4)


def test_head_and_embeddings_can_be_left_out() -> None:
    gradients = dense_gradients(model_of("roberta-untied"), examples(), WORDS[:2])
    capturer = capturer_of("roberta-untied")
    body = [key for key in gradients if not key.startswith("lm_head")]
    assert is_equal(kernels(capturer, head=False)["full"], gram(*[gradients[key] for key in body]))
    others = [key for key in gradients if "embeddings." not in key or "LayerNorm" in key]
    assert is_equal(kernels(capturer, embeddings=False)["full"], gram(*[gradients[key] for key in others]))
    own = parameters_of(capturer)
    reached = [gradients[key][0, 0] for key in gradients if gradients[key].any()]
    assert size_of(make_set("full", own, CHOICES), own) == sum(gradient.numel() for gradient in reached)


def test_signs() -> None:
    gradients = dense_gradients(model_of("gpt2"), examples(), WORDS[:2])
    capturer = capturer_of("gpt2")
    engine = GradientProducts(sets_of(capturer), signs=(True, True))
    expected = gram(*[gradient.sign() for gradient in gradients.values()])
    block = capturer.capture(examples(), 5)
    assert is_equal(engine.kernels(block)["full"], expected)
    flat = torch.cat([gradient.flatten(2) for gradient in gradients.values()], 2).flatten(0, 1)
    one_sided = GradientProducts(sets_of(capturer), signs=(False, True))
    assert is_equal(one_sided.kernels(block)["full"], flat @ flat.sign().t())
    alphas = {"full": torch.randn(1, len(flat), dtype=torch.float64)}
    scores = one_sided.scores(block, one_sided.directions([(block, alphas)]))["full"]
    assert is_equal(scores.flatten(), flat @ flat.sign().t() @ alphas["full"][0], 1e-8)


def test_rows_and_columns_by_number() -> None:
    gradients = dense_gradients(model_of("roberta"), examples(), WORDS[:2])
    capturer = capturer_of("roberta")
    own = parameters_of(capturer)
    chosen = KernelSettings(task="mr", indices=(5, 2, 5))
    names = make_set("row", own, chosen)
    found = GradientProducts({"row": names, "column": make_set("column", own, chosen)}).kernels(
        capturer.capture(examples(), 5)
    )
    assert is_equal(found["row"], gram(*[gradients[name][:, :, [2, 5]] for name in names]))
    assert is_equal(found["column"], gram(*[gradients[name][..., [2, 5]] for name in names]))
    with pytest.raises(UserError, match="has 8 such rows or columns, 0 to 7; 8 is none"):
        make_set("column", own, KernelSettings(task="mr", indices=(8,)))
    with pytest.raises(ValueError, match="leave out rank and selection"):
        KernelSettings(task="mr", indices=(1,), rank=2)


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("kind", ["roberta", "deberta", "gpt2"])
def test_predictions_need_no_test_kernel(kind: str, count: int) -> None:
    capturer = capturer_of(kind)
    engine = GradientProducts(sets_of(capturer), scratch=200)
    train, test = capturer.capture(examples()[:3], 3), capturer.capture(examples(7)[3:], 2)
    generator = torch.Generator().manual_seed(0)
    alphas = {name: torch.randn(count, 6, dtype=torch.float64, generator=generator) for name in engine.sets}
    direct = engine.directions([(train, alphas)])
    for name, scores in engine.scores(test, direct).items():
        expected = engine.kernels(test, train)[name] @ alphas[name].t()
        assert scores.shape == (4, 2, count)
        assert is_equal(scores.flatten(0, 1), expected, 1e-8), name


def test_the_difference_follows_from_all_logits() -> None:
    readout = Readout.of_words(WORDS[:2]).difference()
    model = model_of("roberta")
    of_all = kernels(capturer_of("roberta"))["row"].view(5, 2, 5, 2)
    capturer = Capturer(model, readout, IDS["pad_token_id"])
    capturer.check(examples(3))
    expected = of_all[:, 1, :, 1] - of_all[:, 1, :, 0] - of_all[:, 0, :, 1] + of_all[:, 0, :, 0]
    assert is_equal(kernels(capturer)["row"], expected)


def test_tokens_and_gradients_give_the_same_products() -> None:
    """Whichever form the operations speak for."""
    matrix, other = (
        Matrix(torch.randn(3, 2, tokens, 4).double(), torch.randn(3, tokens, 6).double()) for tokens in (5, 7)
    )
    phi, psi = Whole().features(matrix, slice(0, 4)), Whole().features(other, slice(0, 4))
    for limit in (1, SCRATCH):
        assert is_equal(token_gram(matrix, other, limit), phi @ psi.t())
    weights = torch.randn(2, 6).double()
    assert is_equal(weighted_sum(matrix, weights), weights @ phi)
    assert is_equal(products(matrix, weights @ phi), phi @ (weights @ phi).t())


def test_norms_are_found_by_their_name() -> None:
    own = parameters_of(capturer_of("llama"))
    assert all(is_norm(own.module(key)) for key in make_set("norms", own, CHOICES))


def test_the_sets_are_those_that_settings_name() -> None:
    assert tuple(SETS) == SET_NAMES
