"""Reading saved trained values: what is damaged, incomplete or of another model is refused, in one line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench.errors import UserError, reason, shortened
from rocoft_bench.untrusted import read_json, require_file

if TYPE_CHECKING:
    from torch import Tensor

SIZES = ("r", "rank", "init_r", "num_virtual_tokens")
"""Fields of PEFT's configurations by which tensors are made before those of the file can show that they are wrong."""

TOLERANCE = 2**-7
"""Of a value that has been through the half precision of its base model on the way."""


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises: UserError if it is missing, damaged, or holds NaN or infinity."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_file(file)
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not a whole safetensors file ({reason(error)})") from None
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise UserError(f"{file}: {shortened(name)} holds NaN or infinity")
    return tensors


def check_fits(file: Path, saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raises UserError unless a file's tensors are, by name and shape, those that a model has."""
    for name in sorted(own.keys() ^ saved.keys()):
        what = "is missing" if name in own else "is none of the model's with the run's settings"
        raise UserError(f"{file}: {shortened(name)} {what}")
    for name, tensor in own.items():
        if saved[name].shape != tensor.shape:
            shapes = f"has shape {tuple(saved[name].shape)}, and the model's {tuple(tensor.shape)}"
            raise UserError(f"{file}: {shortened(name)} {shapes}")


def check_loaded(file: Path, saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raises UserError unless a model now has the values of a file, and no others of its own.

    PEFT leaves aside, or at their initial values, what it does not find under the name that it looks for. It may take
    names of earlier versions, which have no `.weight` in the end.
    """
    import torch

    saved, own = ({name.removesuffix(".weight"): value for name, value in each.items()} for each in (saved, own))
    check_fits(file, saved, own)
    for name, value in own.items():
        if not torch.allclose(value.cpu().float(), saved[name].cpu().float(), rtol=TOLERANCE, atol=1e-6):
            raise UserError(f"{file}: {shortened(name)} was not taken over by the model")


@contextmanager
def misfits_explained(file: Path) -> Iterator[None]:
    """Turns into a UserError whatever PEFT makes of values that do not fit."""
    from torch import OutOfMemoryError

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # `check_loaded` does
            yield
    except (UserError, OutOfMemoryError):
        raise
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{file}: does not fit the model and the run's settings ({reason(error)})") from error


def check_peft_config(file: Path, expected: Mapping[str, Any]) -> None:
    """Raises UserError if a saved configuration of PEFT is damaged or makes another adapter than a run's settings."""
    saved = read_json(file)
    if not isinstance(saved, dict):
        raise UserError(f"{file}: not the configuration of an adapter ({type(saved).__name__} in place of an object)")
    for key in ("peft_type", *SIZES):
        if key in expected and saved.get(key) != expected[key]:
            raise UserError(
                f"{file}: {key} is {shortened(repr(saved.get(key)))}, and the run's settings make it {expected[key]!r}"
            )
