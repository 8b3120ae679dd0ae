"""Which modules of a model a setting or a stored adapter names, found in bounded time and before peft looks for them.

Python's `re`, and so peft, can take for ever; `regex` reads the same expressions and can be told when to stop.
"""

import re
import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from rocoft_bench.errors import UserError, shortened, suggest
from rocoft_bench.models.linear_roles import LINEAR_ROLES, ROLES, target_pattern

MATCH_SECONDS = 2.0
"""For one expression against all modules; an honest one takes milliseconds."""
LONGEST_PATTERN = 10_000
SETTING = "method.target_modules"

PEFT_CONFIG = "adapter_config.json"
"""The file by which PEFT's format is known."""
NAMES_ONLY = ("exclude_modules", "modules_to_save", "layers_pattern", "rank_pattern", "alpha_pattern")
"""Parts of it, with lists or keys that peft takes as regular expressions."""
PLAIN_NAME = re.compile(r"[\w.-]*")


def check_named(targets: Sequence[str] | str | None) -> None:
    """Raises: UserError if `target_modules` names nothing in any model, or is not a regular expression."""
    if targets is not None and not (targets and all(targets)):
        raise UserError(f"{SETTING} = {targets!r}: names nothing; leave it out for the default")
    if isinstance(targets, str):
        check_pattern(targets)


def check_pattern(pattern: str, where: str = SETTING) -> None:
    """Raises: UserError if it is not a regular expression."""
    try:
        if len(pattern) > LONGEST_PATTERN:
            raise ValueError(f"longer than {LONGEST_PATTERN:,} characters")
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, ValueError, RecursionError, OverflowError) as error:
        raise UserError(f"{where} = {shortened(pattern)!r}: not a regular expression ({error})") from None


def matched(targets: Sequence[str] | str, model_type: str | None, names: Iterable[str]) -> list[str]:
    """The names of modules that `target_modules` means: roles, endings or a regular expression.

    Raises: UserError if it is not a regular expression, or one that takes too long.
    """
    if isinstance(targets, str):
        return _matched_in_time(targets, names, SETTING)
    pattern = re.compile(target_pattern(targets, model_type))
    return [name for name in names if pattern.fullmatch(name)]


def peft_pattern(targets: Sequence[str] | str, model: Any) -> str:
    """PEFT's `target_modules` for roles, endings or a regular expression; the last becomes the names that it means.

    Raises: UserError as `require_targets`.
    """
    found = require_targets(targets, model)
    if isinstance(targets, str):
        return "|".join(map(re.escape, found))
    return target_pattern(targets, model.config.model_type)


def require_targets(targets: Sequence[str] | str, model: Any) -> list[str]:
    """The names of a model's modules that `target_modules` means. Warns of a role that only other architectures have.

    Raises: UserError as `matched`, or with an entry that means no module.
    """
    names, model_type = [name for name, _ in model.named_modules() if name], model.config.model_type
    found = matched(targets, model_type, names)
    entries = [targets] if isinstance(targets, str) else targets
    missing = [] if isinstance(targets, str) else [each for each in entries if not matched([each], model_type, names)]
    unknown = [each for each in missing if each not in ROLES or model_type not in LINEAR_ROLES]
    if unknown or not found:
        named = ", ".join(unknown or entries)
        raise UserError(f"{SETTING}: the model has no module {shortened(named)!r}; {_allowed(named, model)}")
    for role in missing:
        warnings.warn(f"{SETTING}: a {model_type} model has no {role}")
    return found


def with_names_for_patterns(config: Any, model: Any) -> Any:
    """A stored configuration of peft in which `target_modules` names what its expression means.

    Raises: UserError if another of its parts, of which the methods here only write names, is an expression; as
    `matched`.
    """
    for part in NAMES_ONLY:
        value = getattr(config, part, None)
        for each in [value] if isinstance(value, str) else value or ():
            if not PLAIN_NAME.fullmatch(str(each)):
                raise UserError(f"{PEFT_CONFIG}: {part} = {shortened(str(each))!r}: must be the name of a module")
    pattern = getattr(config, "target_modules", None)
    if isinstance(pattern, str):
        where = f"{PEFT_CONFIG}: target_modules"
        found = _matched_in_time(pattern, [name for name, _ in model.named_modules() if name], where)
        if not found:
            raise UserError(f"{where} = {shortened(pattern)!r}: the model has no such module")
        config.target_modules = "|".join(map(re.escape, found))
    return config


def _matched_in_time(pattern: str, names: Iterable[str], where: str) -> list[str]:
    import regex

    check_pattern(pattern, where)
    end = time.monotonic() + MATCH_SECONDS
    try:
        compiled = regex.compile(pattern)
        return [name for name in names if compiled.fullmatch(name, timeout=max(0.001, end - time.monotonic()))]
    except TimeoutError:
        raise UserError(
            f"{where} = {shortened(pattern)!r}: takes more than {MATCH_SECONDS:g} s to match; nest no repetitions"
        ) from None
    except regex.error as error:
        raise UserError(f"{where} = {shortened(pattern)!r}: not a regular expression ({error})") from None


def _allowed(named: str, model: Any) -> str:
    """Roles and the names of linear layers, the nearest first."""
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) == 2
    }
    return suggest(named, names.union(ROLES if model.config.model_type in LINEAR_ROLES else ()))
