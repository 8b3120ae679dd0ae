"""Plug-ins that are files: `--plugin FILE.py`."""

import hashlib
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType

from rocoft_bench.errors import UserError, reason, shortened
from rocoft_bench.plugins.registry import Plugin, Registry, loading

_loaded: dict[Path, Plugin] = {}


def load_files(files: Iterable[str | Path] | Mapping[str, str]) -> None:
    """Run the files, each once; what they add to the registries is there from then on.

    files: paths, or as `named_files` gives them: then with the content that they must have.

    Raises: UserError if a file cannot be read, has another content, fails, adds nothing, or adds a name that is taken.
    """
    for file in files:
        _load(Path(file), files[str(file)] if isinstance(files, Mapping) else None)


def named_files() -> dict[str, str]:
    """Full paths of the files that were loaded and the sha256 of their content, for other processes of this run."""
    return {str(path): str(plugin.sha256) for path, plugin in _loaded.items()}


def _load(file: Path, sha256: str | None) -> None:
    try:
        path = file.expanduser().resolve()
        if path in _loaded:
            return
        code = path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"--plugin {shortened(str(file))}: cannot be read ({reason(error)})") from None
    plugin = Plugin(path.name, sha256=hashlib.sha256(code).hexdigest(), path=str(path))
    if sha256 not in (None, plugin.sha256):
        raise UserError(f"--plugin {file}: has changed since this command began; begin it again")
    if plugin not in _loaded.values():  # else a copy of it is
        _run(file, path, code, plugin)
    _loaded[path] = plugin


def _run(file: Path, path: Path, code: bytes, plugin: Plugin) -> None:
    """Run the file as a module that nothing else can be imported as."""
    module = ModuleType(f"rocoft_plugin_{path.stem}_{str(plugin.sha256)[:8]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # pydantic and dataclasses look their classes' modules up
    try:
        with loading(plugin):
            exec(compile(code, str(path), "exec"), module.__dict__)
        if not any(registry.has_of(plugin) for registry in Registry.known):
            raise UserError("adds nothing; e.g. METHODS.add(MyMethod) of rocoft_bench.methods does")
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        for registry in Registry.known:
            registry.drop(plugin)
        said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {reason(error)}"
        raise UserError(f"--plugin {file}{_line(error, path)}: {said}") from error


def _line(error: BaseException, path: Path) -> str:
    """Where in the file it went wrong."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
