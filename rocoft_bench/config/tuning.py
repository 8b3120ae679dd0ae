"""`tune` of a sweep file: a search over settings, the same for every method, before the sweep's own runs.

    tune:
      grid: {training.learning_rate: [1.0e-4, 1.0e-3, 1.0e-2]}
      hold_out: 400                     # training rows that every trial is scored on; it trains on the others
      seeds: [0]                        # of the trials; a choice is by the mean over them
      set: {training.epochs: 1}         # what trials alone have otherwise
      trials: 8                         # random search: so many combinations, drawn by `seed`, instead of all
      seed: 0                           # draws the rows that are held out, and the combinations

Of a random search, a setting may also have a range: {low: 1.0e-5, high: 1.0e-2, scale: log}. Every combination of the
axes but the seed has a search of its own, all with the same combinations of settings. The one that is best on the
held-out rows is laid over the settings of the sweep's runs, which train on all training rows.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, FiniteFloat, Tag, model_validator

from rocoft_bench.config.loading import Settings, flatten, merge, override, parse_assignment
from rocoft_bench.config.schema import Count, LargeCount, Seed, StrictModel
from rocoft_bench.errors import UserError

SEED = "seed"


class Range(StrictModel):
    """Values from low to high, evenly spread over the numbers or over their logarithms."""

    low: FiniteFloat
    high: FiniteFloat
    scale: Literal["log", "linear"] = "log"

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low >= self.high or (self.scale == "log" and self.low <= 0):
            raise ValueError("low must be below high, and above 0 on a logarithmic scale")
        return self

    def draw(self, generator: random.Random) -> float:
        low, high = (math.log(end) if self.scale == "log" else end for end in (self.low, self.high))
        value = low + (high - low) * generator.random()
        return float(f"{math.exp(value) if self.scale == 'log' else value:.4g}")


ListOrRange = Annotated[
    Annotated[list[Any], Field(min_length=1), Tag("values")] | Annotated[Range, Tag("range")],
    Discriminator(lambda given: "range" if isinstance(given, dict | Range) else "values"),
]


class Tuning(StrictModel):
    grid: Annotated[dict[str, ListOrRange], Field(min_length=1)]
    """Settings, dotted, each with the values to try, or a range to draw from."""
    hold_out: LargeCount
    """Training rows that are held out of every trial's training, and that it is scored on."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """Of the trials."""
    set: dict[str, Any] = Field({})
    """Settings that trials alone have."""
    trials: Count | None = None
    """Combinations that a random search draws."""
    seed: Seed = 0
    """Of the rows that are held out, and of the draw."""

    @model_validator(mode="after")
    def _ranges_are_drawn_from(self) -> Tuning:
        if self.trials is None and any(isinstance(values, Range) for values in self.grid.values()):
            raise ValueError("a range is for a random search: say how many `trials`")
        return self

    @model_validator(mode="after")
    def _tried_once(self) -> Tuning:
        for name, values in {**self.grid, "seeds": self.seeds}.items():
            if not isinstance(values, Range) and (twice := [value for value in values if values.count(value) > 1]):
                raise ValueError(f"{name} has {twice[0]} {values.count(twice[0])} times; give each value once")
        return self

    @cached_property
    def combinations(self) -> list[dict[str, Any]]:
        """What is tried: the value of each tuned setting."""
        if self.trials is None:
            return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]
        generator = random.Random(self.seed)
        distinct: dict[str, dict[str, Any]] = {}
        for _ in range(100 * self.trials):
            drawn = {
                key: values.draw(generator) if isinstance(values, Range) else generator.choice(values)
                for key, values in self.grid.items()
            }
            distinct.setdefault(json.dumps(drawn), drawn)
            if len(distinct) == self.trials:
                break
        return list(distinct.values())

    def trial_settings(
        self, settings: Settings, assignments: Iterable[str]
    ) -> Iterator[tuple[dict[str, Any], Settings]]:
        """What each trial varies, its seed included, and its settings. settings: of a run of the sweep."""
        held_out = {"task": {"hold_out": self.hold_out, "hold_out_seed": self.seed}}
        for values, seed in itertools.product(self.combinations, self.seeds):
            trial = settings.copy()
            trial.update(nested(self.set), "tune.set")
            trial.assign(assignments)
            trial.update(nested({**values, SEED: seed}), "tune")
            trial.update(held_out, "tune.hold_out")
            yield {**values, SEED: seed}, trial

    def check(self, axes: Iterable[str], assignments: Iterable[str], where: str) -> None:
        """Raises: UserError if what is tuned is set otherwise too, or the grid has too few combinations to draw."""
        given = dict.fromkeys(axes, "an axis") | {key: "in tune.set" for key, _ in flatten(nested(self.set))}
        for assignment in assignments:
            parse_assignment(assignment)
            given[assignment.partition("=")[0].strip()] = "set on the command line"
        for key in (SEED, "task.hold_out", "task.hold_out_seed"):
            if given.get(key) == "in tune.set":
                raise UserError(f"{where}: tune.set: {key} is said by tune.seeds, tune.hold_out and tune.seed")
        for key in self.grid:
            if key.partition(".")[0] in ("task", SEED):
                raise UserError(f"{where}: tune.grid: {key} is no setting that can be tuned: results would not compare")
            if key in given:
                raise UserError(f"{where}: tune.grid: {key} is {given[key]} too; it is tuned or set, not both")
        if self.trials is not None and len(self.combinations) < self.trials:
            raise UserError(
                f"{where}: tune.trials = {self.trials}: the grid has {len(self.combinations)} different combinations"
            )


def group_of(point: dict[str, Any], tuned: Iterable[str] = ()) -> str:
    """Equal for runs that share a search: the values on the axes but for the seed and what is tuned."""
    return json.dumps({key: value for key, value in point.items() if key not in (SEED, *tuned)})


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Settings by dotted key, as nested ones."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        merge(found, override(str(key), value))
    return found
