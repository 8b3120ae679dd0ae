"""Paths in settings: the same file however it is spelled, and found again from wherever a later command is started."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from rocoft_bench.config.catalog import known_model
from rocoft_bench.errors import reason

ROW_PATHS = ("task.data_dir", "task.train_file", "task.eval_file")
"""Settings that name a folder or a file with rows: what counts is their content."""


def expanded(path: str | Path) -> Path:
    """The path with `~` replaced by the home that it means; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def absolute(path: str | Path) -> Path:
    """The full path of what a path, relative to the working directory or to a home (`~`), means now.

    Raises: ValueError if it can mean nothing.
    """
    if not str(path).strip():
        raise ValueError("is empty; the working directory is .")
    try:
        full = Path(path).expanduser().resolve()
        str(full).encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    except (RuntimeError, OSError) as error:  # no such user; a circle of links; a working directory that is gone
        raise ValueError(reason(error)) from None
    return full


SettingPath = Annotated[Path, BeforeValidator(lambda path: absolute(path) if isinstance(path, str | Path) else path)]
"""A setting that names a file or folder; kept as its full path."""


def is_folder(name: str) -> bool:
    """Whether a name is that of a folder that is there, whatever else it could be."""
    try:
        return expanded(name).is_dir()
    except (OSError, ValueError):
        return False


def model_name(name: str) -> str:
    """A model's name; that of a local folder as its full path, unless an embedded model has it.

    Raises: ValueError if it is empty or can mean nothing.
    """
    known = known_model(name)
    if known is not None and known.embedded is not None:
        return name
    return str(absolute(name)) if not name.strip() or is_folder(name) else name


SettingModel = Annotated[str, AfterValidator(model_name)]
"""A setting that names a model; a folder is kept as its full path."""
