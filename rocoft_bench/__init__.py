"""rocoft_bench: RoCoFT as a PEFT method, and the experiments of its paper.

Importing this package makes RoCoFT known to PEFT. It stays light: torch and peft are loaded only when a name below
is used or when the program imports peft itself.

>>> from peft import get_peft_model
>>> from rocoft_bench import RoCoFTConfig
>>> model = get_peft_model(model, RoCoFTConfig(rank=3, mode="row"))  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rocoft_bench._import_hook import when_imported

if TYPE_CHECKING:
    from rocoft_bench.tuner import RoCoFTConfig, RoCoFTLayer, RoCoFTModel, calibrate

__version__ = "0.1.0"
__all__ = ["RoCoFTConfig", "RoCoFTLayer", "RoCoFTModel", "calibrate"]

when_imported("peft", lambda: importlib.import_module("rocoft_bench.tuner"))


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("rocoft_bench.tuner"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
