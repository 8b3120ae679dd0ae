"""The embedded arithmetic set: generated word problems of one or two steps, in the form of LLM-Adapters' math files.

Each row has an `instruction` (the problem), an empty `input`, an `output` (the steps, then "The answer is 12.") and the
`answer` ("12.0"). The test split has people, things and sentence frames of its own.

- gain: "Anna has 7 pears. She finds 5 more. How many pears does Anna have now?" 7 + 5 = 12
- loss: "Peter has 9 coins. He loses 4 of them. How many coins does Peter have now?" 9 - 4 = 5
- together: "Anna has 6 cups and Paul has 8 cups. How many cups do they have together?" 6 + 8 = 14
- difference: "Anna has 9 cups and Paul has 4 cups. How many more cups does Anna have than Paul?" 9 - 4 = 5
- groups: "There are 3 bags. Each bag holds 5 shells. How many shells are there in all?" 3 * 5 = 15
- two steps: "Anna has 7 pears. She finds 5 more. Then she loses 2 of them. How many …?" 7 + 5 = 12. 12 - 2 = 10
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from rocoft_bench.demo import generator_of
from rocoft_bench.demo.world import TEST_CAST, TRAIN_CAST, Cast

SPLIT_SIZES = {"train": 2400, "test": 240}
SEED = 21

Step = tuple[int, str, int]
"""Left number, operator and right number."""


@dataclass(frozen=True)
class Frames:
    """Sentences around numbers {a} and {b}, a person {name} ({they}: the pronoun), an {other} one and {things}."""

    starts: tuple[str, ...]
    gains: tuple[str, ...]
    losses: tuple[str, ...]
    asks_now: tuple[str, ...]
    pairs: tuple[str, ...]
    asks_together: tuple[str, ...]
    asks_difference: tuple[str, ...]
    groups: tuple[str, ...]
    asks_all: tuple[str, ...]


TRAIN = Frames(
    starts=("{name} has {a} {things}.", "{name} has {a} {things} at home.", "At first {name} has {a} {things}."),
    gains=("{they} finds {b} more.", "{they} buys {b} more {things}.", "{they} picks up {b} more."),
    losses=("{they} loses {b} of them.", "{they} sells {b} of them.", "{they} gives away {b} {things}."),
    asks_now=("How many {things} does {name} have now?", "How many {things} does {name} have in the end?"),
    pairs=(
        "{name} has {a} {things} and {other} has {b} {things}.",
        "{name} has {a} {things}. {other} has {b} {things}.",
    ),
    asks_together=("How many {things} do they have together?", "How many {things} do {name} and {other} have in all?"),
    asks_difference=("How many more {things} does {name} have than {other}?",),
    groups=("There are {a} bags. Each bag holds {b} {things}.", "{name} has {a} bags with {b} {things} in each."),
    asks_all=("How many {things} are there in all?", "How many {things} are in the bags?"),
)

TEST = Frames(
    starts=(
        "{name} owns {a} {things}.",
        "{name} has {a} {things} in a box.",
        "One day {name} has {a} {things}.",
    ),
    gains=("{they} wins {b} more.", "{they} collects {b} more {things}.", "{other} gives {name} {b} more."),
    losses=("{they} drops {b} of them.", "{they} throws away {b} {things}.", "{they} hides {b} of them."),
    asks_now=("How many {things} does {name} own now?", "What number of {things} does {name} have in the evening?"),
    pairs=("{name} owns {a} {things} and {other} owns {b} {things}.", "{name} has {a} {things}, and {other} has {b}."),
    asks_together=("How many {things} is that together?", "What number of {things} do both have?"),
    asks_difference=("How many more {things} than {other} does {name} have?",),
    groups=(
        "There are {a} baskets. In each basket there are {b} {things}.",
        "{name} fills {a} baskets with {b} {things} each.",
    ),
    asks_all=("How many {things} is that in all?", "What number of {things} are in the baskets?"),
)


def word_problem_rows(split: str) -> list[dict[str, str]]:
    """The rows of a split: instruction, input, output, answer, kind. The same on every machine.

    All kinds are equally frequent and no problem occurs twice.

    Raises: UserError if there is no such split.
    """
    rng = generator_of(split, SPLIT_SIZES, SEED, "word problems")
    frames, cast = (TEST, TEST_CAST) if split == "test" else (TRAIN, TRAIN_CAST)
    rows: dict[str, dict[str, str]] = {}
    while len(rows) < SPLIT_SIZES[split]:
        kind = list(KINDS)[len(rows) % len(KINDS)]
        texts, steps = KINDS[kind](frames, rng)
        row = _row(_filled(texts, steps, cast, rng), steps)
        rows.setdefault(row["instruction"], {**row, "kind": kind})
    shuffled = list(rows.values())
    rng.shuffle(shuffled)
    return shuffled


def result(step: Step) -> int:
    left, operator, right = step
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


def _row(problem: str, steps: list[Step]) -> dict[str, str]:
    worked = " ".join(f"{step[0]} {step[1]} {step[2]} = {result(step)}." for step in steps)
    answer = result(steps[-1])
    output = f"{worked} The answer is {answer}."
    return {"instruction": problem, "input": "", "output": output, "answer": f"{answer}.0"}


def _filled(texts: list[str], steps: list[Step], cast: Cast, rng: random.Random) -> str:
    """The problem's sentences. The first step has the numbers {a} and {b}, a second one adds {c}."""
    (name, pronoun), (other, _) = rng.sample(cast.people, 2)
    numbers = {"a": steps[0][0], "b": steps[0][2], "c": steps[-1][2]}
    words = {"name": name, "other": other, "they": pronoun, "things": rng.choice(cast.things)}
    sentences = [text.format(**words, **numbers) for text in texts]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in sentences)


def _sum(rng: random.Random) -> Step:
    return rng.randint(3, 15), "+", rng.randint(2, 12)


def _rest(rng: random.Random) -> Step:
    left = rng.randint(5, 20)
    return left, "-", rng.randint(2, min(12, left - 1))


def _gain(frames: Frames, rng: random.Random) -> tuple[list[str], list[Step]]:
    return [rng.choice(part) for part in (frames.starts, frames.gains, frames.asks_now)], [_sum(rng)]


def _loss(frames: Frames, rng: random.Random) -> tuple[list[str], list[Step]]:
    return [rng.choice(part) for part in (frames.starts, frames.losses, frames.asks_now)], [_rest(rng)]


def _together(frames: Frames, rng: random.Random) -> tuple[list[str], list[Step]]:
    return [rng.choice(frames.pairs), rng.choice(frames.asks_together)], [_sum(rng)]


def _difference(frames: Frames, rng: random.Random) -> tuple[list[str], list[Step]]:
    return [rng.choice(frames.pairs), rng.choice(frames.asks_difference)], [_rest(rng)]


def _groups(frames: Frames, rng: random.Random) -> tuple[list[str], list[Step]]:
    return [rng.choice(frames.groups), rng.choice(frames.asks_all)], [(rng.randint(2, 6), "*", rng.randint(2, 8))]


def _two_steps(frames: Frames, rng: random.Random) -> tuple[list[str], list[Step]]:
    if rng.random() < 0.5:
        first, changes = _sum(rng), (frames.gains, frames.losses)
        second = (result(first), "-", rng.randint(2, min(9, result(first) - 1)))
    else:
        first, changes = _rest(rng), (frames.losses, frames.gains)
        second = (result(first), "+", rng.randint(2, 9))
    then = "then " + rng.choice(changes[1]).replace("{b}", "{c}")
    return [rng.choice(frames.starts), rng.choice(changes[0]), then, rng.choice(frames.asks_now)], [first, second]


KINDS: dict[str, Callable[[Frames, random.Random], tuple[list[str], list[Step]]]] = {
    "gain": _gain,
    "loss": _loss,
    "together": _together,
    "difference": _difference,
    "groups": _groups,
    "two_steps": _two_steps,
}
