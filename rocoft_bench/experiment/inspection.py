"""What a run would read of examples of the user's own, and what is odd about them, before anything is trained."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rocoft_bench import models
from rocoft_bench.errors import shortened
from rocoft_bench.experiment.encoded_split import encode
from rocoft_bench.models.hub import from_cache_or_hub
from rocoft_bench.models.limits import UNLIMITED_TOKENS
from rocoft_bench.models.pretrained import load_tokenizer
from rocoft_bench.tasks.own.user_rows import is_missing
from rocoft_bench.tasks.readers import RawRows, read_own_rows

if TYPE_CHECKING:
    from rocoft_bench.config import ModelConfig, TaskConfig
    from rocoft_bench.tasks import LoadedSplit, Task

Table = list[list[str]]
"""Rows of cells, the first of titles."""

FEW = 5
"""Examples of a label that are too few to learn it."""
SHOWN = 60
"""Letters of a text in a line."""

KINDS = {"str": "text", "bool": "true or false", "int": "whole number", "float": "number", "dict": "object"}
SPELT = {"whole numbers": re.compile(r"[-+]?\d+"), "numbers": re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")}
"""What all texts of a column can spell."""
USUAL_COLUMNS = {
    "instruct": {"messages", "instruction"},
    "questions": {"context"},
    "seq2seq": {"source"},
    "classification": {"label"},
}

ODDITIES: dict[str, Callable[[str], bool]] = {
    "hold letters that a wrong encoding has destroyed": lambda text: "\ufffd" in text or "Ã¤" in text or "â€" in text,
    "are a word for nothing": lambda text: text.strip().lower() in ("na", "n/a", "nan", "null", "none", "-"),
    "hold HTML": lambda text: re.search(r"</?(?:p|br|div|span|a|b|i|li|td)\b[^>]*>", text) is not None,
    "have a single letter": lambda text: len(text.strip()) == 1,
}
"""What texts can be that they are seldom meant to be."""


def columns_of(file: Path) -> tuple[Table, RawRows]:
    """The columns of a file with their types and values, and all that is in it. Raises: UserError for a bad file."""
    rows = read_own_rows(file)
    table = [["column", "type", "missing", "different", "first"]]
    for name, cells in rows.columns.items():
        there = [cell for cell in cells if not is_missing(cell)]
        different = len(set(map(str, there)))
        first = shortened(str(there[0]), SHOWN) if there else ""
        table.append([shortened(name, SHOWN), _kind(there), str(len(cells) - len(there)), str(different), first])
    return table, rows


def _kind(cells: Sequence[Any]) -> str:
    names = {type(cell).__name__ for cell in cells}
    kinds = " or ".join(sorted(KINDS.get(name, name) for name in names))
    spelt = [of for of, pattern in SPELT.items() if names == {"str"} and all(map(pattern.fullmatch, cells))]
    return f"{kinds} ({spelt[0]})" if spelt else kinds


def family_for(columns: Sequence[str]) -> str | None:
    """The family whose usual columns a file has; None where they tell nothing."""
    return next((family for family, names in USUAL_COLUMNS.items() if names & set(columns)), None)


def inspected(task: Task, settings: TaskConfig, model: ModelConfig | None) -> Iterator[str | Table]:
    """Paragraphs and tables on the examples that a run would train on and be evaluated on. model: counts the tokens.

    Raises: UserError where the run could not read them.
    """
    train, evaluation = task.load_training(settings), task.load(task.eval_split)
    count = len(evaluation.examples)
    yield f"{len(train.examples):,} examples to train on, {count:,} to evaluate on ({task.eval_split})"
    yield from dict.fromkeys([*train.notes, *evaluation.notes])
    names = getattr(task, "label_names", ())
    if names:
        counts = [Counter(split.examples["label"]) for split in (train, evaluation)]
        yield [["label", "train", task.eval_split]] + [
            [shortened(name, SHOWN), *(str(count[code]) for count in counts)] for code, name in enumerate(names)
        ]
        yield from _odd_labels(names, counts[0])
    yield from _duplicates(task, train, evaluation)
    yield from _oddities(task, train, evaluation)
    if model is None:
        yield "tokens: not counted; name the model with --model"
    else:
        yield from _as_tokens(task, settings, model, train)


def _odd_labels(names: Sequence[str], counts: Counter[int]) -> Iterator[str]:
    few = [name for code, name in enumerate(names) if counts[code] < FEW]
    if few:
        yield f"suspicious: fewer than {FEW} training examples have the label {_some(few)}"
    spellings = defaultdict(list)
    for name in names:
        spellings[name.lower()].append(name)
    for same in spellings.values():
        if len(same) > 1:
            yield f"suspicious: labels that differ in capitals only: {_some(same)}"


def _duplicates(task: Task, train: LoadedSplit, evaluation: LoadedSplit) -> Iterator[str]:
    """Rows with the same texts, in a split and across splits."""
    texts = {name: _texts(task, split) for name, split in (("training", train), ("evaluation", evaluation))}
    for name, rows in texts.items():
        again = [text for text, count in Counter(rows).items() if count > 1]
        if again:
            total = len(rows) - len(set(rows))
            yield f"duplicates: {name} examples that repeat another one's texts: {total:,}, e.g. {_some(again[0])}"
    targets = defaultdict(set)
    for split, rows in zip((train, evaluation), texts.values(), strict=True):
        for text, target in zip(rows, split.examples[task.target_columns[0]], strict=True):
            targets[text].add(str(target))
    differing = [text for text, answers in targets.items() if len(answers) > 1]
    if differing:
        yield f"suspicious: texts with different answers: {len(differing):,}, e.g. {_some(differing[0])}"
    known = set(texts["training"]) & set(texts["evaluation"])
    yield f"duplicates across the splits: {len(known):,}" + (f", e.g. {_some(min(known))}" if known else "")


def _texts(task: Task, split: LoadedSplit) -> list[tuple[str, ...]]:
    names = [name for name in task.columns if name not in task.target_columns]
    return list(zip(*(split.examples[name] for name in names), strict=True))


def _oddities(task: Task, *splits: LoadedSplit) -> Iterator[str]:
    for name in task.text_columns:
        for what, is_so in ODDITIES.items():
            found = [text for split in splits for text in split.examples[name] if is_so(text)]
            if found:
                yield f'suspicious: texts of "{task.called(name)}" that {what}: {len(found):,}, e.g. {_some(found[:1])}'


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - FEW:,} more" if len(texts) > FEW else ""
    return " / ".join(f'"{shortened(text, SHOWN)}"' for text in texts[:FEW] if text.strip("[]")) + more


def _as_tokens(task: Task, settings: TaskConfig, model: ModelConfig, train: LoadedSplit) -> Iterator[str]:
    """Lengths in tokens, and the first example as the model reads it."""
    source = models.locate(model)
    tokenizer = from_cache_or_hub(f"the tokenizer of {model.name}", lambda: load_tokenizer(source, model.name))
    uncut = settings.model_copy(update={"max_length": UNLIMITED_TOKENS})
    lengths = sorted(map(len, task.encode(train.examples, tokenizer, uncut, True).examples["input_ids"]))
    limit = tokenizer.model_max_length
    settings = task.fitted(settings, limit if limit < UNLIMITED_TOKENS else None)
    longer = sum(length > settings.max_length for length in lengths)
    middle, high = lengths[len(lengths) // 2], lengths[int(0.95 * (len(lengths) - 1))]
    yield (
        f"tokens of {Path(model.name).name}: median {middle}, 95 % up to {high}, longest {lengths[-1]}; "
        f"{longer:,} of {len(lengths):,} examples have more than max_length {settings.max_length}"
    )
    notes: list[str] = []
    encoded = encode(task, train, tokenizer, settings, True, notes)
    yield from notes
    shown = next((each for each in encoded.encoded if each.get("start_positions") != 0), encoded.encoded[0])
    yield f"an example as the model reads it:\n{tokenizer.decode(shown['input_ids'])}"
    yield f"and what it learns from it:\n{_learnt(task, shown, tokenizer)}"


def _learnt(task: Task, example: dict[str, Any], tokenizer: Any) -> str:
    if "start_positions" in example:
        span = example["input_ids"][example["start_positions"] : example["end_positions"] + 1]
        return str(tokenizer.decode(span))
    if isinstance(labels := example["labels"], list):
        return str(tokenizer.decode([label for label in labels if label >= 0]))
    names = task.model_options.get("id2label")
    return str(names[labels] if names else labels)
