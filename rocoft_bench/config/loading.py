"""From YAML files and command-line overrides to a validated RunConfig, remembering where each value came from.

Precedence: command line > file > included file > defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SerializeAsAny, ValidationError, create_model

from rocoft_bench.config.schema import DEFAULT_METHOD, OF_THE_METHOD, RunConfig, StrictModel, TaskConfig
from rocoft_bench.errors import LONGEST_SOURCE, UserError, shortened, suggest
from rocoft_bench.untrusted import parse_yaml, read_yaml

MAX_INCLUDES = 50
"""Files that include each other, one in the other."""
MAX_LEVELS = 30
"""Groups of settings in each other."""
MAX_PROBLEMS = 10
"""Problems that are told at once."""

S = TypeVar("S", bound=StrictModel)

NAMED = ("method", "model", "task")
"""Sections of which a name alone says enough."""


@dataclass
class Settings:
    """Nested settings as read so far, and the source of each leaf by dotted key.

    dropped_with_method: settings of `training` that went with another method, and that method.
    """

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    dropped_with_method: tuple[dict[str, Any], str] | None = None

    def update(self, values: dict[str, Any], source: str) -> None:
        """Lay `values` over what is there. A different `method.name` starts that method from its own defaults, and what
        was chosen for the method before it, learning rate and weight decay too, is left behind.

        Raises: UserError if a setting is to stand in a group in whose place a value stands.
        """
        values = {key: _spelled_out(key, value) for key, value in values.items()}
        self._lay(values, {key: source for key, _ in flatten(values)})

    def include(self, other: Settings) -> None:
        """As `update`, with the settings of a file."""
        self._lay(other.values, other.sources)
        self.dropped_with_method = other.dropped_with_method or self.dropped_with_method

    def _lay(self, values: dict[str, Any], sources: dict[str, str]) -> None:
        for key, value in values.items():
            there = self.values.get(key)
            if isinstance(value, dict) and key != "method" and there is not None and not isinstance(there, dict):
                raise UserError(f"{self.sources.get(key)}: {key} = {shortened(repr(there))}: is a group of settings")
        new, old = _method_name(values), _method_name(self.values) or DEFAULT_METHOD
        if new is not None and new != old and self.values:
            self._drop_method(old)
        merge(self.values, values)
        self.sources |= sources

    def assign(self, assignments: Iterable[str], group: str | None = None) -> None:
        """Lay `key=value` of `--set` over what is there, or in its group, a method first: the others are meant for it.

        Raises: UserError as `parse_assignment`.
        """
        parsed = [(parse_assignment(assignment), f"--set {assignment}") for assignment in assignments]
        for values, source in sorted(parsed, key=lambda given: _method_name(given[0]) is None):
            self.update(values if group is None else {group: values}, source)

    def lay_options(self, options: Mapping[str, Any]) -> None:
        """Lay options of a command, by the dotted key of what each sets, over what is there; None was not given."""
        for key, value in options.items():
            if value is not None:
                name = key.removesuffix(".name").rpartition(".")[2].replace("_", "-")
                self.update(override(key, str(value) if isinstance(value, Path) else value), f"--{name}")

    def only_group(self, name: str, of: str) -> Any:
        """The one group of a file of something other than runs. Raises: UserError if there is a setting beside it."""
        if others := [key for key in self.values if key != name]:
            file = next((source for key, source in self.sources.items() if key.split(".")[0] == others[0]), "settings")
            raise UserError(f"{file}: {others[0]} is not a setting of {of}, which stand under {name}")
        return self.values.get(name)

    def check_keys(self, group: str, allowed: Iterable[str]) -> None:
        """Raises: UserError if a key of a group is none of these."""
        if others := [key for key in self.values[group] if key not in allowed]:
            place = f"{group}.{others[0]}"
            sources = [f"{source}: " for key, source in self.sources.items() if f"{key}.".startswith(f"{place}.")]
            raise UserError(f"{''.join(sources[:1])}{place} is not a setting; {suggest(others[0], allowed)}")

    def copy(self) -> Settings:
        """The same settings; what happens to either leaves the other alone."""
        values: dict[str, Any] = {}
        merge(values, self.values)
        return Settings(values, dict(self.sources), self.dropped_with_method)

    def _drop_method(self, name: str) -> None:
        self.values["method"] = {}
        training = self.values.get("training")
        chosen = (
            {key: training.pop(key) for key in OF_THE_METHOD if key in training} if isinstance(training, dict) else {}
        )
        if chosen:
            self.dropped_with_method = (chosen, name)
        gone = ("method.", *(f"training.{key}" for key in OF_THE_METHOD))
        self.sources = {key: source for key, source in self.sources.items() if not key.startswith(gone)}


def _method_name(values: dict[str, Any]) -> str | None:
    method = values.get("method")
    return method.get("name") if isinstance(method, dict) else None


def config_root() -> Path:
    """The folder of the YAML files that ship with the package (in a wheel) or the repository (in a checkout)."""
    package = Path(__file__).resolve().parents[1]
    inside_wheel = package / "configs"
    return inside_wheel if inside_wheel.is_dir() else package.parent / "configs"


def config_files() -> list[Path]:
    """The YAML files of runs and sweeps that ship. Those below `accelerate/` are that library's own; those of kernel
    analyses (ntk_*.yaml) and of benches (bench_*.yaml) name no run."""
    files = [file for file in config_root().rglob("*.yaml") if file.parent.name != "accelerate"]
    return sorted(file for file in files if not file.name.startswith(("ntk_", "bench_")))


def find_config(name: str | Path) -> Path:
    """A YAML file by path, or by its path below the shipped `configs/`. Raises: UserError if there is no such file."""
    path = resolve_config_path(Path(name))
    if path.is_file():
        return path
    names = [str(file.relative_to(config_root())) for file in config_files()]
    raise UserError(f"no config file {name}; {suggest(str(path).removeprefix('configs/'), names)}")


def resolve_config_path(path: Path) -> Path:
    """A file that is there, or else the one of that path below the shipped `configs/`, or else the path itself."""
    shipped = config_root() / str(path).removeprefix("configs/")
    return shipped if shipped.is_file() and not path.is_file() else path


def read_settings(path: Path) -> Settings:
    """Read a YAML file over the files that it includes.

    Raises: UserError if the file or an included one is missing, is not valid YAML, or includes itself.
    """
    return _read(path, (), {})


def _read(path: Path, includers: tuple[Path, ...], known: dict[Path, Settings]) -> Settings:
    """includers: the files that led here, from the first. known: what has been read; each file is read once."""
    try:
        place = path.resolve()
    except (RuntimeError, OSError):
        raise UserError(f"{path}: cannot be read (its links lead nowhere)") from None
    if place in includers:
        raise UserError(f"{path}: include goes round in a circle")
    if len(includers) > MAX_INCLUDES:
        raise UserError(f"{path}: more than {MAX_INCLUDES} files include one the other")
    if place not in known:
        content = read_yaml(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: must hold `key: value` settings, not {type(content).__name__}")
        names = content.pop("include", [])
        names = [names] if isinstance(names, str) else names
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            given = shortened(repr(names))
            raise UserError(f"{path}: include = {given}: must be the name of a file or a list of names")
        settings = Settings()
        for name in names:
            settings.include(_read(path.parent / name, (*includers, place), known))
        settings.update(content, str(path))
        known[place] = settings
    return known[place]


def override(dotted: str, value: Any) -> dict[str, Any]:
    """("training.epochs", 3) as nested settings: {"training": {"epochs": 3}}; of a method, model or task a name alone
    says enough.

    Raises: UserError if there are more levels than any setting has.
    """
    head, *rest = reversed(dotted.split("."))
    if len(rest) >= MAX_LEVELS:
        raise UserError(f"{shortened(dotted)} is not a setting; it has {len(rest) + 1:,} levels")
    values: dict[str, Any] = {head: _spelled_out(dotted, value)}
    for part in rest:
        values = {part: values}
    return values


def _spelled_out(key: str, value: Any) -> Any:
    return {"name": value} if key in NAMED and isinstance(value, str) else value


def parse_assignment(text: str) -> dict[str, Any]:
    """`key=value` of `--set`, the value read as YAML; `method=lora` is short for `method.name=lora`.

    Raises: UserError if there is no `=`, or the value is not plain YAML.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UserError(f"--set {shortened(text)}: write it as key=value, e.g. --set training.epochs=3")
    return override(key.strip(), parse_yaml(value, f"--set {shortened(text)}"))


def validate(settings: Settings, task_section: type[TaskConfig] = TaskConfig) -> RunConfig:
    """Check all settings against the schema, with the settings that the task in question takes.

    Raises:
        UserError: One line per problem: where it stands, what was given, what is allowed.
    """
    return checked(_run_section(task_section), settings.values, settings.sources)


@cache
def _run_section(task_section: type[TaskConfig]) -> type[RunConfig]:
    """A run's schema with the settings of one kind of task."""
    task: Any = SerializeAsAny[task_section]  # type: ignore[misc, valid-type]
    return create_model("RunConfig", __base__=RunConfig, task=(task, ...))


def checked(section: type[S], values: dict[str, Any], sources: dict[str, str] | None = None, prefix: str = "") -> S:
    """Validate one section; `prefix` is its dotted place in the file, for messages."""
    try:
        return section.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        lines = [_explain(section, dict(problem), sources or {}, prefix) for problem in problems[:MAX_PROBLEMS]]
        more = [f"and {len(problems) - len(lines):,} more problems"] if len(problems) > len(lines) else []
        raise UserError("\n".join([*lines, *more])) from None


def _explain(section: type[StrictModel], problem: dict[str, Any], sources: dict[str, str], prefix: str) -> str:
    path = [str(part) for part in problem["loc"]]
    key = ".".join([prefix, *path] if prefix else path)
    within = [sources[name] for name in sources if name.startswith(f"{key}.")]
    if do_not_fit := problem["type"] == "value_error" and isinstance(problem["input"], dict):  # of no single flag
        within = [source for source in within if not source.startswith("--")]
    source = sources.get(key) or next(iter(within), None)
    if problem["type"] == "missing":
        source = source or next((name for name in sources.values() if not name.startswith("--")), None)
    where = f"{shortened(source, LONGEST_SOURCE)}: " if source else ""
    given = shortened(repr(problem["input"]))
    if problem["type"] == "extra_forbidden":
        return f"{where}{key} is not a setting; {suggest(path[-1], _fields(section, path[:-1]))}"
    if problem["type"] == "missing":
        return f"{where}{key} is missing"
    if problem["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"{where}{key} = {given}: is a group of settings"
    if problem["type"] == "literal_error":
        allowed = re.findall(r"'(.*?)'", problem["ctx"]["expected"])
        return f"{where}{key} = {given}: {suggest(problem['input'], allowed)}"
    reason = problem["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    return f"{where}{key if do_not_fit and key else f'{key} = {given}'}: {reason[0].lower() + reason[1:]}"


def _fields(section: type[StrictModel], path: Iterable[str]) -> list[str]:
    for part in path:
        annotation = section.model_fields[part].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, StrictModel)):
            return []
        section = annotation
    return list(section.model_fields)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All (dotted key, value) pairs of nested settings."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    """Lay nested settings over others: groups are merged, anything else, lists too, replaces what was there.

    `base` then shares no group with `over`: a later change of one leaves the other alone.
    """
    for key, value in over.items():
        if not isinstance(value, dict):
            base[key] = value
            continue
        if not isinstance(base.get(key), dict):
            base[key] = {}
        merge(base[key], value)
