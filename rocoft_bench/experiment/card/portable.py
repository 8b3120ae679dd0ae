"""Values as they may leave this machine: a path of its file system is cut down to the last part."""

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

_ROOT = r"(?:~?/|[A-Za-z]:[/\\])"
_WHOLE = re.compile(rf"(?P<before>[\w.-]+=|--[\w-]+=)?(?P<path>{_ROOT}[^\n]*)")
_INSIDE = re.compile(rf"""(?<![\w./\\:~*)\]<-]){_ROOT}[\w.~-][^\s'",;:()|]*""")


def without_machine_paths(value: Any) -> Any:
    """Plain values (as of JSON) in which absolute paths are replaced by the name of what they lead to.

    A text that is a path (or `KEY=PATH`) may hold spaces; a path inside other text ends at the first one. Relative
    paths and addresses (`https://…`) stay.

    >>> without_machine_paths({"data_dir": "/home/me/my data", "note": "read from /home/me/rows.json: 3 rows"})
    {'data_dir': 'my data', 'note': 'read from rows.json: 3 rows'}
    """
    if isinstance(value, dict):
        return {key: without_machine_paths(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_machine_paths(inner) for inner in value]
    return _of_text(value) if isinstance(value, str) else value


def _of_text(text: str) -> str:
    whole = _WHOLE.fullmatch(text)
    if whole and ": " not in text:
        return (whole["before"] or "") + name_of(whole["path"])
    return _INSIDE.sub(lambda match: name_of(match[0]), text)


def name_of(path: str) -> str:
    """The last part of a path, whichever system it is of."""
    return PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name
