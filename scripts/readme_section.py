"""Sections of results/README.md that a script makes of the records in a folder of results/, between two marks."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "results"
README = RESULTS / "README.md"


def marks(script: str, name: str) -> tuple[str, str]:
    """The lines in the README before and after the section of a folder of results, or of several."""
    return f"<!-- scripts/{script} {name} -->", f"<!-- end {name} -->"


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def written(readme: str, made: str, begin: str, end: str) -> str:
    """The README with the section between two marks replaced.

    Raises: ValueError if it has no such marks.
    """
    before, _, rest = readme.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"results/README.md has no lines {begin} and {end}")
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"


def main(script: str, description: str | None, section: Callable[..., str], several: bool = False) -> None:
    """The command of such a script. section: makes the text, in Markdown, of a folder's records, or of several."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+" if several else 1, help="a folder in results/")
    parser.add_argument("--write", action="store_true", help="put them into results/README.md")
    arguments = parser.parse_args()
    made = section(*(RESULTS / name for name in arguments.names))
    if arguments.write:
        between = marks(Path(script).name, " ".join(arguments.names))
        text = written(README.read_text(encoding="utf-8"), made, *between)
        README.write_text(text, encoding="utf-8")
    else:
        print(made)
