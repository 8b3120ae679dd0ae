"""rocoft_bench: RoCoFT as a PEFT method, and the experiments of its paper.

Importing this package makes RoCoFT known to PEFT. It stays light, so that `rocoft --help` answers at once: torch and
peft, which take seconds, are loaded only when a name below is used or when the program imports peft itself.

>>> from peft import get_peft_model
>>> from rocoft_bench import RoCoFTConfig
>>> model = get_peft_model(model, RoCoFTConfig(rank=3, mode="row"))  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rocoft_bench.tuner import (
        RoCoFTConfig,
        RoCoFTLayer,
        RoCoFTModel,
        calibrate,
        dequantize,
        hotswap,
        save_as_lora,
    )

__version__ = "0.1.0"
__all__ = ["RoCoFTConfig", "RoCoFTLayer", "RoCoFTModel", "calibrate", "dequantize", "hotswap", "save_as_lora"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("rocoft_bench.tuner"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _when_imported(name: str, action: Callable[[], object]) -> None:
    """Call `action` at once if module `name` is loaded, else right after its first import."""
    if name in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _Watcher(name, action))


class _Watcher(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds nothing itself: asks the other finders and stands before the loader that they return.

    It stays in place until the module has really been imported: `importlib.util.find_spec`, which only asks whether
    the module is there, passes by here too.
    """

    loader: importlib.abc.Loader

    def __init__(self, name: str, action: Callable[[], object]) -> None:
        self.name, self.action = name, action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        sys.meta_path.remove(self)
        self.action()


_when_imported("peft", lambda: importlib.import_module("rocoft_bench.tuner"))
