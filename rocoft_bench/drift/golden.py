"""The golden file: what the fixed runs gave, with the versions that it was with, and how far numbers may be from it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocoft_bench.errors import UserError
from rocoft_bench.runs import provenance, write_json
from rocoft_bench.untrusted import read_json

FILE = Path(__file__).parent / "golden.json"

TOLERANCES = {
    "losses": {"relative": 1e-3, "absolute": 0.0},
    "scores": {"relative": 1e-2, "absolute": 1e-2},
    "metrics": {"relative": 0.0, "absolute": 0.05},
}
"""What rounding on other processors may do: a loss moves by far less, and of 24 answers one may become another. All
else, such as rows, weights, counts and prompts, has to be equal."""

_EXACT = {"relative": 0.0, "absolute": 0.0}


@dataclass(frozen=True)
class Drift:
    """run: of the fixed set. what: the dotted key of a value, with its place in a list."""

    run: str
    what: str
    golden: Any
    now: Any


def write_golden(file: Path, runs: Mapping[str, Any]) -> None:
    """Make a golden file of what the fixed runs give now."""
    source = provenance()
    versions = {"python": source["python"], **source["packages"]}
    write_json(file, {"versions": versions, "tolerances": TOLERANCES, "runs": dict(runs)})


def read_golden(file: Path) -> dict[str, Any]:
    """Raises: UserError if it is not a golden file."""
    content = read_json(file)
    parts = ("versions", "tolerances", "runs")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in parts):
        raise UserError(f"{file}: is no golden file; `rocoft check --golden FILE --remake` writes one")
    return content


def other_versions(golden: Mapping[str, Any]) -> dict[str, tuple[str | None, str | None]]:
    """Packages of which another version is installed than the golden file was made with: that one, and this one."""
    source = provenance()
    now = {"python": source["python"], **source["packages"]}
    before = golden["versions"]
    return {name: (before.get(name), now.get(name)) for name in now if before.get(name) != now.get(name)}


def drifts(name: str, golden: Mapping[str, Any], now: Mapping[str, Any]) -> list[Drift]:
    """In what a run is not as the golden file has it, by the tolerances that are stated there; of a list the first
    place alone.
    """
    known = golden["runs"].get(name)
    if known is None:
        return [Drift(name, "run", "not there", "run")]
    found = []
    for part in dict.fromkeys((*known, *now)):
        tolerance = golden["tolerances"].get(part, _EXACT)
        found += [Drift(name, *each) for each in _unlike(part, known.get(part), now.get(part), tolerance)]
    return found


def _unlike(what: str, golden: Any, now: Any, tolerance: Mapping[str, float]) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(golden, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*golden, *now)):
            yield from _unlike(f"{what}.{key}", golden.get(key), now.get(key), tolerance)
    elif isinstance(golden, list) and isinstance(now, list):
        pairs = enumerate(zip(golden, now, strict=False))
        unlike = (list(_unlike(f"{what}[{place}]", one, other, tolerance)) for place, (one, other) in pairs)
        lengths = [(f"{what}, how many", len(golden), len(now))] if len(golden) != len(now) else []
        yield from next(filter(None, unlike), lengths)
    elif not _equal(golden, now, tolerance):
        yield what, golden, now


def _equal(golden: Any, now: Any, tolerance: Mapping[str, float]) -> bool:
    if isinstance(golden, float) or isinstance(now, float):
        numbers = all(isinstance(value, (int, float)) for value in (golden, now))
        return numbers and math.isclose(golden, now, rel_tol=tolerance["relative"], abs_tol=tolerance["absolute"])
    return bool(golden == now)
