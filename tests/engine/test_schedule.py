from __future__ import annotations

import pytest
import torch
from transformers import get_scheduler

from rocoft_bench.config import TrainingConfig
from rocoft_bench.engine.trainer import rate_factor


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0, 5, 40])
def test_equals_transformers(name: str, warmup: int) -> None:
    settings = TrainingConfig(learning_rate=0.3, warmup_steps=warmup, lr_scheduler=name)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    reference_name = "constant_with_warmup" if name == "constant" else name
    reference = get_scheduler(reference_name, optimizer, num_warmup_steps=warmup, num_training_steps=30)
    for step in range(30):
        assert settings.learning_rate * rate_factor(step, 30, settings) == pytest.approx(
            reference.get_last_lr()[0], rel=1e-12
        )
        optimizer.step()
        reference.step()
