from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from rocoft_bench import methods
from rocoft_bench.methods.modules.low_rank import MixedLoRA
from rocoft_bench.methods.modules.wrappers import unwrap
from rocoft_bench.models import AUTO_CLASSES, paper_model
from rocoft_bench.models.parameter_counts import count_parameters
from rocoft_bench.models.shape_reading import shapes_of

CLASSIFY = "sequence_classification"


@pytest.mark.parametrize(
    ("alias", "settings", "adapter"),
    [
        ("roberta-base", {}, 1_666_080),
        ("roberta-large", {}, 2_174_304),
        ("roberta-base", {"rank": 8, "target_modules": ["query", "value"]}, 296_448),
    ],
)
def test_moslora_counts(alias: str, settings: dict[str, Any], adapter: int) -> None:
    method = methods.resolve({"name": "moslora", **settings}, task_kind=CLASSIFY, model=alias)
    model = paper_model(alias, AUTO_CLASSES[CLASSIFY])
    assert method.adapter_parameters(shapes_of(model, has_head=True)) == adapter
    counts = count_parameters(method.apply(model, CLASSIFY, seed=0))
    assert counts.adapter == adapter
    if alias == "roberta-large":
        assert counts.trainable == 3_225_954


def random_layer(base: nn.Module) -> MixedLoRA:
    layer = MixedLoRA(base, rank=3, scale=1.7, dropout=0.0)
    nn.init.normal_(layer.lora_B)
    return layer


@pytest.mark.parametrize("base", [nn.Linear(5, 7), Conv1D(7, 5)], ids=["Linear", "Conv1D"])
def test_moslora_is_its_formula(base: Any) -> None:
    torch.manual_seed(0)
    layer = random_layer(base)
    a, mixer, b = (p.detach().clone().requires_grad_() for p in (layer.lora_A, layer.mixer, layer.lora_B))

    def reference(x: Tensor) -> Tensor:
        return x @ (layer.matrix + 1.7 * b @ mixer @ a).T + base.bias.detach()

    x, weights = torch.randn(4, 2, 5), torch.randn(4, 2, 7)
    torch.testing.assert_close(layer(x), reference(x))
    (layer(x) * weights).sum().backward()
    (reference(x) * weights).sum().backward()
    for parameter, leaf in ((layer.lora_A, a), (layer.mixer, mixer), (layer.lora_B, b)):
        torch.testing.assert_close(parameter.grad, leaf.grad, atol=1e-5, rtol=1e-5)

    before = layer(x)
    model = nn.Sequential(layer)
    unwrap(model)
    assert model[0] is base
    torch.testing.assert_close(model(x), before)


def test_moslora_with_an_identity_mixer_is_lora() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 7)
    layer = random_layer(base)
    nn.init.eye_(layer.mixer)
    x = torch.randn(4, 5)
    lora = base(x) + 1.7 * (x @ layer.lora_A.T) @ layer.lora_B.T
    torch.testing.assert_close(layer(x), lora)
    nn.init.zeros_(layer.mixer)
    torch.testing.assert_close(layer(x), base(x))


def test_moslora_starts_as_the_base_layer_with_a_mixer_that_is_no_identity() -> None:
    torch.manual_seed(0)
    base = nn.Linear(5, 7)
    layer = MixedLoRA(base, rank=3, scale=1.7, dropout=0.5)
    x = torch.randn(4, 5)
    assert torch.equal(layer(x), base(x))
    assert layer.mixer.detach().abs().max() > 0
    assert not torch.allclose(layer.mixer, torch.eye(3))


def test_moslora_drops_inputs_of_the_change_in_training_only() -> None:
    torch.manual_seed(0)
    layer = MixedLoRA(nn.Linear(50, 7), rank=3, scale=1.7, dropout=0.5)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(4, 50)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
