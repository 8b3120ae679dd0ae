"""Which rows are trained on and tested on: given few-shot files, or a draw by the rule of LM-BFF.

The rule (LM-BFF's generate_k_shot_data): numpy's global generator is seeded, the training rows are shuffled in place in
the order of their file, and of each class the first k are for training. Of more than 1,000 test rows 1,000 are used
(LM-Kernel-FT): the first after a shuffle with seed 42, or those that pandas' `sample` with random_state 42 gives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from rocoft_bench.errors import UserError
from rocoft_bench.ntk.fewshot.tasks import FewShotTask, Hub
from rocoft_bench.tasks.data import (
    LABEL,
    check_class_labels,
    check_texts,
    content_sha256,
    files_of_split,
    read_folder,
    read_hub,
)
from rocoft_bench.tasks.readers import RawRows

FAMILY = "fewshot"
TEST_ROWS = 1000
TEST_SEED = 42
EMBEDDED = "entailment"


@dataclass(frozen=True)
class Draw:
    """Rows of one split: texts[i] are the sentences of row i. origin: as in a run's record, of exactly these rows."""

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[int, ...]
    origin: dict[str, Any]
    notes: tuple[str, ...] = ()


def draw_for_training(task: FewShotTask, shots: int, seed: int, data_dir: Path | None) -> Draw:
    """`shots` rows of each class: of DATA_DIR/fewshot/TASK/SHOTS-SEED/train, else drawn from all training rows.

    Raises:
        UserError: If there are no such rows, one of them is wrong, or a class has too few.
    """
    folder = f"{task.name}/{shots}-{seed}"
    if data_dir is not None and files_of_split(data_dir / FAMILY / folder, "train"):
        raw = _checked(task, read_folder(data_dir, FAMILY, folder, "train", _wanted(task)))
        draw = _draw(task, raw, range(len(raw.places)), "train")
        _check_counts(task, draw.labels, shots, raw.source)
        return draw
    raw = _read(task, "train", data_dir)
    order = list(range(len(raw.places)))
    np.random.RandomState(seed).shuffle(order)
    chosen = _first_of_each_class(task, raw, order, shots)
    note = f"the training rows were drawn by the rule of LM-BFF from {len(order):,} rows of {raw.source}"
    return replace(_draw(task, raw, chosen, "train"), notes=(note, *_pinning(task, raw)))


def draw_for_testing(task: FewShotTask, data_dir: Path | None, limit: int | None = None) -> Draw:
    """The test rows: 1,000 where there are more, and the first `limit` of these.

    Raises:
        UserError: If there are no such rows, or one of them is wrong.
    """
    raw = _read(task, "test", data_dir)
    count = len(raw.places)
    chosen = list(range(count))
    if count > TEST_ROWS:
        if task.test_by == "shuffle":
            np.random.RandomState(TEST_SEED).shuffle(chosen)
        else:  # as pandas.DataFrame.sample
            chosen = np.random.RandomState(TEST_SEED).choice(count, TEST_ROWS, replace=False).tolist()
    notes = [f"{TEST_ROWS:,} of {count:,} test rows are used"] if count > TEST_ROWS else []
    chosen = chosen[:TEST_ROWS]
    if limit is not None and limit < len(chosen):
        notes.append(f"only the first {limit} of {len(chosen)} test rows are used")
        chosen = chosen[:limit]
    return replace(_draw(task, raw, chosen, "test"), notes=tuple(notes))


def _pinning(task: FewShotTask, raw: RawRows) -> tuple[str, ...]:
    is_moving = raw.origin.get("kind") == "hub" and raw.origin.get("revision") == "main"
    return (f"{raw.origin['id']} is taken as it is on the day: no commit of it is known here",) if is_moving else ()


def _first_of_each_class(task: FewShotTask, raw: RawRows, order: list[int], shots: int) -> list[int]:
    """Row numbers, class by class in the order in which the classes first come."""
    labels = raw.columns[LABEL]
    by_class: dict[int, list[int]] = {}
    for row in order:
        by_class.setdefault(labels[row], []).append(row)
    chosen = {label: rows[:shots] for label, rows in by_class.items()}
    _check_counts(task, [labels[row] for rows in chosen.values() for row in rows], shots, raw.source)
    return [row for rows in chosen.values() for row in rows]


def _check_counts(task: FewShotTask, labels: Any, shots: int, source: str) -> None:
    for code, word in enumerate(task.words):
        count = sum(label == code for label in labels)
        if count != shots:
            raise UserError(f"--shots {shots}: {source} has {count} rows of class {code} ({word}) of {task.name}")


def _wanted(task: FewShotTask) -> tuple[str, ...]:
    return (*task.columns, LABEL)


def _read(task: FewShotTask, split: str, data_dir: Path | None) -> RawRows:
    """All rows of a split from a folder, the package or the hub."""
    if task.embedded:
        if data_dir is not None:
            raise UserError(f"task {task.name} has its own rows: leave out --data-dir {data_dir}")
        return _checked(task, _embedded(task, split))
    if data_dir is not None:
        return _checked(task, read_folder(data_dir, FAMILY, task.name, split, _wanted(task)))
    assert task.hub is not None
    return _checked(task, _from_hub(task.hub, task, split))


def _embedded(task: FewShotTask, split: str) -> RawRows:
    from rocoft_bench.demo.entailment import entailment_rows

    rows = entailment_rows(split)
    columns = {own: [row[theirs] for row in rows] for own, theirs in task.embedded.items()}
    return RawRows(
        f"demo/{EMBEDDED}", "row", range(1, len(rows) + 1), columns, {"kind": "embedded", "id": f"demo/{EMBEDDED}"}
    )


def _from_hub(hub: Hub, task: FewShotTask, split: str) -> RawRows:
    """A split of the hub under our names for columns and labels."""
    names = {name: hub.columns.get(name, name) for name in _wanted(task)}
    raw = read_hub(hub.dataset, "train" if split == "train" else hub.test_split, list(names.values()))
    columns = {name: raw.columns[theirs] for name, theirs in names.items()}
    if hub.classes:
        codes = {theirs: code for code, theirs in enumerate(hub.classes)}
        columns[LABEL] = [codes.get(label, label) for label in columns[LABEL]]
    kept = [row for row, label in enumerate(columns[LABEL]) if not (hub.drops_unlabelled and label == -1)]
    columns = {name: [cells[row] for row in kept] for name, cells in columns.items()}
    return replace(raw, places=[raw.places[row] for row in kept], columns=columns)


def _checked(task: FewShotTask, raw: RawRows) -> RawRows:
    check_texts(raw, task.columns)
    check_class_labels(raw, task.words)
    return raw


def _draw(task: FewShotTask, raw: RawRows, rows: Any, split: str) -> Draw:
    columns = {name: [raw.columns[name][row] for row in rows] for name in _wanted(task)}
    texts = tuple(zip(*(columns[name] for name in task.columns), strict=True))
    facts = {"split": split, "num_rows": len(texts), "sha256": content_sha256(columns)}
    return Draw(texts, tuple(columns[LABEL]), {**raw.origin, **facts})
