"""The state of an unfinished run in one safetensors file: trained values, optimizer, random numbers, progress."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from rocoft_bench.engine.hooks import Hooks
from rocoft_bench.engine.processes import Processes
from rocoft_bench.engine.sharding import placed_like, put, whole
from rocoft_bench.errors import reason
from rocoft_bench.runs import replace_atomically


class CheckpointError(Exception):
    """A checkpoint is damaged or belongs to another model; nothing was taken from it."""


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
    processes: int = 1
    loss_scaler: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def trained_values(model: nn.Module) -> dict[str, Tensor]:
    """The model's trainable parameters by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def save_trained_values(path: Path, model: nn.Module, processes: Processes) -> None:
    """Write the trainable parameters, whole, on the main process; all processes must call it."""
    _save({name: whole(value) for name, value in trained_values(model).items()}, path, processes)


def _save(tensors: dict[str, Tensor], path: Path, processes: Processes, metadata: dict[str, str] | None = None) -> None:
    if processes.is_main:
        tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
        replace_atomically(path, lambda partial: save_file(tensors, partial, metadata))


def load_trained_values(model: nn.Module, values: dict[str, Tensor]) -> None:
    """Put whole values back in place, so that optimizers keep pointing at them.

    Raises: CheckpointError if the names are not exactly those of the model's trainable parameters.
    """
    own = trained_values(model)
    if own.keys() != values.keys():
        raise CheckpointError(f"of other parameters: {sorted(own.keys() ^ values.keys())[:3]}")
    for name, parameter in own.items():
        put(parameter, values[name])


def save_checkpoint(
    path: Path, state: TrainState, model: nn.Module, optimizer: Optimizer, hooks: Hooks, processes: Processes
) -> None:
    """Replace the checkpoint at `path`; a crash in the middle leaves the old one. All processes must call it."""
    state.processes = processes.count
    tensors = {f"model.{name}": whole(value) for name, value in trained_values(model).items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": whole(torch.as_tensor(value)) for key, value in slots.items()}
    tensors |= {f"method.{name}": value for name, value in hooks.state().items()}
    random_states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        random_states["cuda"] = torch.cuda.get_rng_state()
    for index, states in enumerate(processes.gather(random_states)):
        tensors |= {f"{_random_prefix(index)}{name}": value for name, value in states.items()}
    _save(tensors, path, processes, {"state": json.dumps(asdict(state))})


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: Optimizer, hooks: Hooks, processes: Processes
) -> TrainState:
    """Restore model, optimizer, what the method adds, and random generators, and return the progress.

    A process that was not there when the checkpoint was written keeps its random generators.

    Raises: CheckpointError if the file is damaged or belongs to another model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = TrainState(**json.loads(file.metadata()["state"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"damaged: {reason(error)}") from error
    load_trained_values(model, _under("model.", tensors))
    _load_optimizer(optimizer, _under("optimizer.", tensors))
    hooks.restore(_under("method.", tensors))
    if random_states := _under(_random_prefix(processes.index), tensors):
        torch.set_rng_state(random_states["cpu"])
        if "cuda" in random_states and torch.cuda.is_available():
            torch.cuda.set_rng_state(random_states["cuda"])
    return state


def _load_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """tensors: by `index.key`, with the parameters counted through all groups."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        slots.setdefault(int(index), {})[key] = placed_like(parameters[int(index)], value)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _random_prefix(process: int) -> str:
    return f"random{process or ''}."
