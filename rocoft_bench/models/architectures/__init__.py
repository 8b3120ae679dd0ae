"""The architectures of the paper's models, as configurations that ship with the package: no download, no weights."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from rocoft_bench.config import expanded, is_folder
from rocoft_bench.config.catalog import known_model
from rocoft_bench.errors import UserError
from rocoft_bench.untrusted import read_json


def model_type_of(name: str) -> str | None:
    """The `model_type` of a model that can be told without network: one of the paper's, or a local folder's."""
    known = known_model(name)
    if known is not None and known.paper_name is not None:
        return _shipped(known.alias)["model_type"]
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
    import transformers

    return on_meta(transformers.AutoConfig.for_model(**_shipped(alias)), auto_class)


def on_meta(config: Any, auto_class: str) -> Any:
    """The model of a configuration on the meta device."""
    import torch
    import transformers

    with torch.device("meta"):
        return getattr(transformers, auto_class).from_config(config, trust_remote_code=False)


def _shipped(alias: str) -> dict[str, Any]:
    return json.loads((files(__package__) / f"{alias}.json").read_text(encoding="utf-8"))
