"""Things of one kind by name: those of the package, then those that plug-ins add.

A plug-in is code that the user has named (`--plugin FILE.py`) or installed (a package with entry points). A run's
folder or record only says which one it was made with; nothing is ever loaded because a folder asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar, TypeVar

from rocoft_bench.errors import UserError, reason, shortened, suggest

T = TypeVar("T")


@dataclass(frozen=True)
class Plugin:
    """Code from outside the package: version of an installed one, sha256 of the content of a file and where that is."""

    name: str
    version: str | None = None
    sha256: str | None = None
    path: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"{self.name} {self.version}" if self.version else self.name


HERE = Plugin("this program")
"""Where `add` was called while no plug-in was being loaded, as in a notebook."""

NAME = re.compile(r"[\w.-]+( [\w.-]+)?")
"""Folders are called by it; a task is named by its family and its name."""

_loading: list[Plugin] = []


@contextmanager
def loading(plugin: Plugin) -> Iterator[None]:
    """What is added meanwhile is the plug-in's."""
    _loading.append(plugin)
    try:
        yield
    finally:
        _loading.pop()


class Registry(Mapping[str, T]):
    """Things by name, in the order of the package and then of plug-ins.

    Args:
        kind: What messages call them, e.g. "method".
        group: The entry points by which installed packages add theirs; loaded when the registry is first looked at.
        name_of: The name of a thing.
        items: Those of the package.
        problem_of: What keeps a plug-in's thing from being one of these, in a few words; None where nothing does.
    """

    known: ClassVar[list[Registry[Any]]] = []

    def __init__(
        self,
        kind: str,
        group: str,
        name_of: Callable[[T], str],
        items: Iterable[T],
        problem_of: Callable[[Any], str | None],
    ) -> None:
        self.kind, self.group = kind, group
        self._name_of, self._problem_of = name_of, problem_of
        self._items = {name_of(item): item for item in items}
        self._origins: dict[str, Plugin] = {}
        self._contested: dict[str, str] = {}
        self._is_complete = False
        self.failures: list[str] = []
        """What installed plug-ins could not add, a line each."""
        self.known.append(self)

    def add(self, item: T) -> T:
        """Take in what a plug-in has made; a decorator of classes too.

        Raises: UserError if it is no such thing, or its name is taken.
        """
        plugin = _loading[-1] if _loading else HERE
        if problem := self._problem_of(item):
            raise UserError(f"{plugin}: {shortened(repr(item))} is no {self.kind}: {problem}")
        name = self._name_of(item)
        if not NAME.fullmatch(str(name)):
            raise UserError(f"{plugin}: {self.kind} {shortened(repr(name))}: letters, digits, _ . and - make a name")
        self._complete()
        there = self._items.get(name)
        if there is not None and there is not item and not self._origins.get(name) is plugin is HERE:
            owner = self._origins.get(name)
            both = f"{owner.path or owner if owner else 'rocoft-bench'} and {plugin.path or plugin}"
            raise NameTakenError(name, f"{self.kind} {name}: both {both} have one; rename or remove one")
        self._items[name] = item
        self._origins.setdefault(name, plugin)
        return item

    def find(self, name: Any) -> T:
        """What a config names.

        Raises: UserError if there is no such thing, with the nearest name, or two plug-ins have it.
        """
        if isinstance(name, str) and name in self and name not in self._contested:
            return self._items[name]
        if isinstance(name, str) and name in self._contested:
            raise UserError(self._contested[name])
        unknown = f"unknown {self.kind} {shortened(repr(name))}; {suggest(name, self)}; --plugin FILE.py adds others"
        raise UserError("\n".join([unknown, *self.failures]))

    def origin(self, name: str) -> Plugin | None:
        """The plug-in that something is from; None for the package's own."""
        return self._origins.get(name)

    def has_of(self, plugin: Plugin) -> bool:
        """Whether a plug-in has added something."""
        return plugin in self._origins.values()

    def drop(self, plugin: Plugin) -> None:
        """Forget what a plug-in has added."""
        for name in [name for name, origin in self._origins.items() if origin == plugin]:
            del self._items[name], self._origins[name]

    def __getitem__(self, name: str) -> T:
        self._complete()
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        self._complete()
        return iter(tuple(self._items))

    def __len__(self) -> int:
        self._complete()
        return len(self._items)

    def _complete(self) -> None:
        """Load what installed packages add. One that cannot be loaded is left out, and takes nothing else with it."""
        if self._is_complete:
            return
        self._is_complete = True  # first: a plug-in may look here while it is loaded
        for entry in sorted(entry_points(group=self.group), key=lambda entry: (_of(entry).name, entry.name)):
            try:
                with loading(_of(entry)):
                    self.add(entry.load())
            except NameTakenError as error:
                self._contested[error.name] = str(error)
                self.failures.append(str(error))
            except UserError as error:
                self.failures.append(str(error))
            except (Exception, SystemExit) as error:  # whatever the code of others does
                said = f"{type(error).__name__}: {reason(error)}"
                self.failures.append(f"{_of(entry)}: its {self.kind} {entry.name} cannot be loaded ({said})")


class NameTakenError(UserError):
    """Two plug-ins, or a plug-in and the package, have something of one name."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def _of(entry: EntryPoint) -> Plugin:
    return Plugin(entry.dist.name, entry.dist.version) if entry.dist else Plugin(entry.module)


def left_out() -> list[str]:
    """What installed plug-ins could not add so far, a line each."""
    return [line for registry in Registry.known for line in registry.failures]


def used(names: Mapping[str, Iterable[str]]) -> list[dict[str, Any]]:
    """The plug-ins that some things are from, for provenance, in the order of the names. names: by kind."""
    registries = {registry.kind: registry for registry in Registry.known}  # in an order that imports decide
    return [
        {kind: name, "plugin": origin.name, "version": origin.version, "sha256": origin.sha256}
        for kind, of_kind in names.items()
        if kind in registries
        for name in of_kind
        if (origin := registries[kind].origin(name)) is not None
    ]


def check_present(entries: Any, what: str) -> None:
    """Raises UserError where something of a plug-in's is not here. entries: as `used` made them. what: used them."""
    for registry, name, entry in _entries(entries):
        if name not in registry:
            is_file = entry.get("sha256") is not None
            plugin = entry.get("plugin")
            how = f"--plugin {plugin}" if is_file else f"pip install {plugin}=={entry.get('version')}"
            raise UserError(f"{what}: needs the {registry.kind} {name} of a plug-in: {shortened(how)}")


def changed_since(entries: Any) -> list[str]:
    """A note for each plug-in that is not the one that `used` noted."""
    notes = []
    for registry, name, entry in _entries(entries):
        now = registry.origin(name)
        if now is None or (now.version, now.sha256) != (entry.get("version"), entry.get("sha256")):
            notes.append(f"the {registry.kind} {name} is not that of the run: its plug-in has changed since")
    return notes


def _entries(entries: Any) -> Iterator[tuple[Registry[Any], str, dict[str, Any]]]:
    """What a provenance.json, which may hold anything, says of things of plug-ins, with the registry of each."""
    for entry in entries if isinstance(entries, list) else []:
        for registry in Registry.known if isinstance(entry, dict) else []:
            if isinstance(entry.get(registry.kind), str):
                yield registry, entry[registry.kind], entry
