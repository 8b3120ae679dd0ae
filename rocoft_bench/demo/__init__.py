"""Data that ships with the package, so that everything can be tried without a network."""

import random
from collections.abc import Mapping

from rocoft_bench.errors import UserError, suggest


def generator_of(split: str, sizes: Mapping[str, int], seed: int, rows: str) -> random.Random:
    """What draws the rows of a split, the same on every machine. sizes: of all splits; rows: what they are, in words.

    Raises: UserError if there is no such split.
    """
    if split not in sizes:
        raise UserError(f"no split {split!r} in the {rows}; {suggest(split, sizes)}")
    return random.Random(f"{seed} {split}")
