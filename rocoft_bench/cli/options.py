"""What several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from rocoft_bench.errors import shortened


def folder(given: str | Path) -> Path:
    """The folder that an option names; an empty one, as of a variable that is not set, would be the working directory.

    Raises:
        typer.BadParameter: If it names none.
    """
    if not str(given).strip():
        raise typer.BadParameter("is empty; the working directory is .")
    try:
        str(given).encode()
        return Path(given).expanduser()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"{shortened(str(given))}: is not UTF-8") from None
    except RuntimeError as error:
        raise typer.BadParameter(f"{given}: {error}") from None


AS_FOLDER: dict[str, Any] = {"parser": folder, "metavar": "FOLDER"}
"""How an option that names a folder is read."""
