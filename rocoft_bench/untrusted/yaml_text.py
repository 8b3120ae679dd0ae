"""YAML as settings need it: plain values, lists and groups, each key once, within limits.

A number is what it looks like: YAML 1.1's octal `010` and base-60 `1:30` are refused, and a date is text.
"""

import re
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer

from rocoft_bench.errors import UserError, shortened
from rocoft_bench.untrusted.files import read_text

FILE_LIMIT = 2**20
"""Bytes."""
MAX_DEPTH = 30
"""Lists and groups in each other."""
MAX_NODES = 20_000
"""Values, keys, lists and groups, those that an alias repeats counted again."""
LARGEST_NUMBER = 2**64

MISREAD = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")
"""Numbers of YAML 1.1 that are not what they look like."""

PREFIX = "tag:yaml.org,2002:"
STRING, MERGE = PREFIX + "str", PREFIX + "merge"
NUMBERS = (PREFIX + "int", PREFIX + "float")
PLAIN = (STRING, *NUMBERS, *(PREFIX + name for name in ("null", "bool", "seq", "map")))

Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """The value in a YAML file. Raises: UserError as `read_text` and `parse_yaml`."""
    return parse_yaml(read_text(path, FILE_LIMIT), str(path), name_line=True)


def parse_yaml(text: str, where: str, name_line: bool = False) -> Any:
    """The value of a YAML text; keys are text, as they are written. where: its file or option, for messages.

    Raises: UserError if it is not valid, not plain or beyond the limits.
    """
    try:
        return _Loader(text).get_single_data()
    except UnicodeEncodeError:  # an argument of other bytes than UTF-8
        raise UserError(f"{where}: is not UTF-8 text") from None
    except yaml.YAMLError as error:
        place = f"{where}: line {_line(error, text)}" if name_line else where
        raise UserError(f"{place}: {_reason(error)}") from None


def _line(error: yaml.YAMLError, text: str) -> int:
    """From 1."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    position = getattr(error, "position", None)
    index = mark.line if mark else text.count("\n", 0, position or 0)
    return min(index, text.rstrip().count("\n")) + 1


def _reason(error: yaml.YAMLError) -> str:
    if isinstance(error, _Refused):
        return str(error.problem)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
    return f"not valid YAML ({shortened(' '.join(str(reason).split()))})"


class _Refused(yaml.MarkedYAMLError):
    """What YAML allows and settings do not."""

    def __init__(self, problem: str, node: Any) -> None:
        super().__init__(problem=problem, problem_mark=node.start_mark)


class _Loader(Composer, Base):
    """Builds the tree of nodes, and makes values of them. Stops before the tree is too deep or, its aliases written
    out, too large.
    """

    depth = nodes = 0

    def __init__(self, text: str) -> None:
        Base.__init__(self, text)
        Composer.__init__(self)
        self.sizes: dict[str, int] = {}
        """Nodes of each anchor that is complete."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event, before = self.peek_event(), self.nodes
        if isinstance(event, yaml.AliasEvent) and event.anchor in self.anchors:
            if event.anchor not in self.sizes:
                raise _Refused(f"*{event.anchor} holds itself; settings are plain values, lists and groups", event)
            self.nodes += self.sizes[event.anchor]
        self.nodes += 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(f"more than {MAX_DEPTH} lists and groups in each other", event)
        if self.nodes > MAX_NODES:
            raise _Refused(f"more than {MAX_NODES:,} values and keys, aliases written out", event)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if event.anchor is not None:
            self.sizes.setdefault(event.anchor, self.nodes - before)
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """What has no tag and is nothing that settings know, such as a date, is text."""
        tag: str = super().resolve(kind, value, implicit)
        return tag if tag in (*PLAIN, MERGE) else STRING

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if node.tag in NUMBERS and MISREAD.fullmatch(node.value):
            raise _Refused(
                f"{shortened(node.value)} is another number to YAML than it looks like: write it without leading "
                'zeros and colons or, as text, in quotes: "…"',
                node,
            )
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """YAML itself lets the last of equal keys win."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _Refused("a list or group cannot be a key", key)
            if key.value in seen:
                raise _Refused(f"{shortened(key.value)} is there twice", key)
            seen.add(key.value)
            key.tag = key.tag if key.tag == MERGE else STRING
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        if node.tag not in PLAIN:
            raise _Refused(f"the tag {shortened(node.tag)} is not for settings", node)
        try:
            value = super().construct_object(node, deep)
        except (ValueError, LookupError, ArithmeticError):
            kind = node.tag.removeprefix(PREFIX)
            raise _Refused(f"{shortened(str(node.value))} cannot be read as {kind}", node) from None
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise _Refused(f"{shortened(node.value)} is too large a number", node)
        return value
