"""The architectures of the paper's models, as configurations that ship with the package: no download, no weights."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from rocoft_bench.config import expanded, is_folder
from rocoft_bench.config.catalog import known_model
from rocoft_bench.errors import UserError, suggest
from rocoft_bench.untrusted import read_json


def model_type_of(name: str) -> str | None:
    """The `model_type` of a model that can be told without network: one of the paper's, or a local folder's."""
    known = known_model(name)
    if known is not None and known.paper_name is not None:
        return shipped(known.alias)["model_type"]
    embedded = known.embedded if known is not None else None
    folder = embedded.path() if embedded else expanded(name) if is_folder(name) else None
    try:
        config = read_json(folder / "config.json") if folder else None
    except UserError:  # loading it will say what is wrong
        config = None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    return model_type if isinstance(model_type, str) else None


def paper_model(alias: str, auto_class: str) -> Any:
    """A model of the paper on the meta device: every shape, no values."""
    return on_meta(configuration(alias), auto_class)


def configuration(alias: str, changes: Mapping[str, Any] | None = None) -> Any:
    """The configuration of a model of the paper, with some of its values changed.

    Raises: UserError if it has no such value, or a value of another kind.
    """
    import transformers

    values = shipped(alias)
    config = transformers.AutoConfig.for_model(**values)
    for key, value in (changes or {}).items():
        there = getattr(config, key, None)
        if not hasattr(config, key):
            raise UserError(f"{alias}: {key} is nothing that its configuration has; {suggest(key, values)}")
        if there is not None and type(value) is not type(there):
            raise UserError(f"{alias}: {key} = {value!r}: must be of type {type(there).__name__}, like {there!r}")
    return transformers.AutoConfig.for_model(**{**values, **(changes or {})})


def on_meta(config: Any, auto_class: str) -> Any:
    """The model of a configuration on the meta device."""
    import torch
    import transformers

    with torch.device("meta"):
        return getattr(transformers, auto_class).from_config(config, trust_remote_code=False)


@cache
def shipped(name: str) -> Mapping[str, Any]:
    """What a file of this folder holds: the configuration of a model of the paper, by its name, or all "shapes"."""
    return json.loads((files(__package__) / f"{name}.json").read_text(encoding="utf-8"))
