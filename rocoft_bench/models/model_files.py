"""The files of a saved model, looked at before a library reads them: it could wait for ever, or fill the memory."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError
from rocoft_bench.models.weights import INDEX
from rocoft_bench.untrusted import read_json, require_file

READ = (".json", ".txt", ".model", ".jinja", ".safetensors")
"""Ends of the names of files that transformers may read."""

OBJECTS = (
    *("config.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json"),
    *("added_tokens.json", INDEX),
)
LAYER_FIELDS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers", "encoder_layers", "decoder_layers")

ANY_LAYERS, ANY_VALUES = 1000, 10_000_000
"""As many need no checkpoint to believe them."""

PACKED = 8
"""Values of a model that one of a quantised checkpoint can stand for, at most."""


def check_files(folder: Path) -> None:
    """See that a saved model is made of regular files, its settings of JSON objects, with as many layers as its
    weights can have.

    Raises: UserError naming the file, and what is wrong with it.
    """
    for file in sorted(folder.iterdir()):
        if file.suffix in READ:
            require_file(file)
    found = {name: _object(folder / name) for name in OBJECTS if (folder / name).exists()}
    config = found["config.json"]
    for name in LAYER_FIELDS:
        layers = config.get(name)
        if isinstance(layers, int) and layers > ANY_LAYERS and layers > (tensors := sum(1 for _ in _tensors(folder))):
            raise UserError(f"{folder / 'config.json'}: {name} = {layers}, but the weights are {tensors} tensors")


def check_size(folder: Path, model: Any) -> None:
    """See that a model on the meta device is no larger than its weights can fill. Raises: UserError if it is."""
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted <= ANY_VALUES:
        return
    there = sum(prod(shape) for shape in _tensors(folder))
    if wanted > PACKED * max(there, ANY_VALUES):
        raise UserError(f"{folder / 'config.json'}: is of a model of {wanted:,} values, but the weights are {there:,}")


def _object(file: Path) -> dict[str, Any]:
    value = read_json(file)
    if not isinstance(value, dict):
        raise UserError(f"{file}: must hold an object {{…}}, not {'null' if value is None else type(value).__name__}")
    return value


def _tensors(folder: Path) -> Iterator[list[int]]:
    """The shapes of all tensors."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "np") as tensors:
                yield from (tensors.get_slice(name).get_shape() for name in tensors.keys())  # noqa: SIM118 - no mapping
        except (OSError, SafetensorError) as error:
            raise UserError(f"{file}: cannot be read ({error})") from None
