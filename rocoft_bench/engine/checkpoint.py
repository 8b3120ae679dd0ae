"""The state of an unfinished run in one safetensors file: trained values, optimizer, random numbers, progress."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.runs import replace_atomically


@dataclass
class TrainState:
    """Progress of a run. The data order follows from the seed and `step`, so it needs no state of its own."""

    step: int = 0
    epochs: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    best_epoch: int = 0
    loss_scaler: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


def trained_values(model: nn.Module) -> dict[str, Tensor]:
    """The model's trainable parameters by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def load_trained_values(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Put values back in place, so that optimizers keep pointing at them.

    Raises:
        ValueError: If the names are not exactly those of the model's trainable parameters.
    """
    own = trained_values(model)
    if own.keys() != values.keys():
        raise ValueError(f"the checkpoint holds other parameters: {sorted(own.keys() ^ values.keys())[:3]}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(values[name])


def save_checkpoint(
    path: Path, state: TrainState, model: nn.Module, optimizer: torch.optim.Optimizer, hooks: Hooks
) -> None:
    """Replace the checkpoint at `path`; a crash in the middle leaves the old one."""
    tensors = {f"model.{name}": value for name, value in trained_values(model).items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": torch.as_tensor(value) for key, value in slots.items()}
    tensors |= {f"method.{name}": value for name, value in hooks.state().items()}
    tensors |= {f"random.{name}": value for name, value in _random_states().items()}
    tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
    replace_atomically(path, lambda partial: save_file(tensors, partial, {"state": json.dumps(asdict(state))}))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, hooks: Hooks) -> TrainState:
    """Restore model, optimizer, what the method adds, and random generators, and return the progress.

    Raises:
        ValueError: If the file is damaged or belongs to another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = TrainState(**json.loads(file.metadata()["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"the checkpoint {path} is damaged ({error})") from error
    load_trained_values(model, _under("model.", tensors))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer.", tensors).items():
        index, _, key = name.partition(".")
        slots.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    hooks.restore(_under("method.", tensors))
    _set_random_states(_under("random.", tensors))
    return state


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def _set_random_states(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states.pop("cpu"))
    if states and torch.cuda.device_count() == len(states):
        torch.cuda.set_rng_state_all(list(states.values()))
