"""The embedded demo task: sentence-pair entailment in the columns of GLUE RTE, generated from templates."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import TypeVar

from rocoft_bench.demo.lexicon import TEST, TRAIN, Lexicon, Template
from rocoft_bench.errors import UserError, suggest

PHENOMENA = (
    "negation",
    "quantifiers",
    "numbers",
    "roles",
    "hypernyms",
    "temporal",
    "comparison",
    "conjunction",
)
SPLIT_SIZES = {"train": 3008, "validation": 416, "test": 800}
NUMBER_WORDS = tuple(
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
    "nineteen twenty".split()
)
_SEED = 20240917
_ROWS_PER_BLOCK = 4
T = TypeVar("T")
Pair = tuple[str, str, int]


class Draw:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def one(self, options: Sequence[T]) -> T:
        return options[int(self._random() * len(options))]

    def some(self, options: Sequence[T], count: int) -> list[T]:
        left = list(options)
        return [left.pop(int(self._random() * len(left))) for _ in range(count)]


def _negation(words: Lexicon, draw: Draw) -> dict[str, str]:
    n, m = draw.some(words.people, 2)
    verb, quality = draw.one(words.verbs), draw.one(words.qualities)
    adj, ant = draw.some(quality[:2], 2)
    return {
        "n": n, "m": m, "base": verb.base, "past": verb.past, "o": draw.one(verb.objects),
        "adj": adj, "ant": ant, "thing": draw.one(quality.things),
    }


def _quantifiers(words, draw):
    p = draw.one(words.predicates)
    return {"n": draw.one(words.people), "base": p.base, "past": p.past}


def _numbers(words, draw):
    picked = draw.some(range(len(NUMBER_WORDS)), 3)
    low, mid, high = (NUMBER_WORDS[k] for k in sorted(picked))
    return _quantifiers(words, draw) | {"low": low, "mid": mid, "high": high}


def _two_names(words, draw):
    a, b = draw.some(words.names, 2)
    return {"a": a, "b": b}


def _roles(words, draw):
    return _two_names(words, draw) | {
        "past": draw.one(words.actions), "place": draw.one(words.places), "good": draw.one(words.goods)}


def _hypernyms(words, draw):
    chain, other = draw.some(words.chains, 2)
    middle, leaves = draw.one(chain.middles)
    om, ol = draw.one(other.middles)
    return {"a": draw.one(words.names), "n": draw.one(words.people), "top": chain.top, "middle": middle,
            "leaf": draw.one(leaves), "other_middle": om, "other_leaf": draw.one(ol)}


def _temporal(words, draw):
    a, b = draw.some(words.events, 2)
    return {"a": a, "b": b, "n": draw.one(words.names)}


def _comparison(words, draw):
    more, less = draw.some(draw.one(words.comparatives), 2)
    return _two_names(words, draw) | {"more": more, "less": less}


def _conjunction(words, draw):
    p = draw.one(words.predicates)
    return _two_names(words, draw) | {"base": p.base, "past": p.past}


_SLOTS = dict(zip(PHENOMENA, (
    _negation, _quantifiers, _numbers, _roles, _hypernyms, _temporal, _comparison, _conjunction)))


def _sentence(template: str, slots: dict[str, str]) -> str:
    text = re.sub(r"\ba (?=[aeiou])", "an ", template.format(**slots))
    return text[0].upper() + text[1:]


def _block(template: Template, slots: dict[str, str]) -> list[Pair]:
    pairs = []
    for case in template:
        h = _sentence(case.hypothesis, slots)
        pairs.append((_sentence(case.entails, slots), h, 0))
        pairs.append((_sentence(case.does_not, slots), h, 1))
    return pairs


def _pairs(phenomenon, words, draw, count, seen):
    out = []
    while len(out) < count:
        template = draw.one(words.templates[phenomenon])
        block = _block(template, _SLOTS[phenomenon](words, draw))
        keys = [p[:2] for p in block]
        if any(k in seen for k in keys):
            continue
        seen.update(keys)
        out += block
    return out


def entailment_rows(split: str) -> list[dict[str, object]]:
    if split not in SPLIT_SIZES:
        raise UserError(f'no split "{split}": {suggest(split, SPLIT_SIZES)}')
    seen: set = set()
    out = {}
    for name in SPLIT_SIZES:
        words = TEST if name == "test" else TRAIN
        draw = Draw(_SEED + len(name))
        rows = []
        for ph in PHENOMENA:
            rows += [{"sentence1": p, "sentence2": h, "label": l, "phenomenon": ph}
                     for p, h, l in _pairs(ph, words, draw, SPLIT_SIZES[name] // len(PHENOMENA), seen)]
        rows = draw.some(rows, len(rows))
        out[name] = [r | {"idx": k} for k, r in enumerate(rows)]
        if name == split:
            return out[name]
