"""Tries wrong input on every command: `python scripts/fuzz.py [--inputs 2000] [--first-seed 0] [--processes 2]`.

Every input that is answered badly is shown with its seed, command and output. The last line counts the answers; all but
the first of its numbers should be 0. `--first-seed SEED --inputs 1` tries one again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.fuzzing.cases import make_case  # noqa: E402
from tests.fuzzing.running import VERDICTS, answer, import_libraries, make_world  # noqa: E402

SHOWN = 600
"""Characters of an output: its end."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--inputs", type=int, default=2000)
    options.add_argument("--first-seed", type=int, default=0)
    options.add_argument("--processes", type=int, default=2)
    given = options.parse_args()
    import_libraries()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-world-") as folder:
        world = Path(folder, "world")
        make_world(world)
        tries = [(seed, world) for seed in range(given.first_seed, given.first_seed + given.inputs)]
        with multiprocessing.get_context("fork").Pool(given.processes) as pool:
            for verdict, text in pool.imap_unordered(_try, tries):
                counts[verdict] += 1
                if verdict != "ok":
                    print(text, flush=True)
    print(", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS))
    sys.exit(1 if counts.total() > counts["ok"] else 0)


def _try(given: tuple[int, Path]) -> tuple[str, str]:
    """The verdict on a seed, and the text that shows it."""
    seed, world = given
    case = make_case(seed)
    found = answer(case, world)
    output = found.output[-SHOWN:].encode("unicode_escape").decode().replace("\\n", "\n    ")
    arguments = " ".join(repr(part[:80]) for part in case.arguments)
    left = f"\n    left: {', '.join(found.left[:5])}" if found.left else ""
    what = f"{found.verdict}: seed {seed}: {case.name!r}: {arguments}"
    return found.verdict, f"{what} -> {found.code}{left}\n    {output}"


if __name__ == "__main__":
    main()
