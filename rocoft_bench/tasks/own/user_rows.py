"""Examples of the user's own: where they are, which columns are read, and which rows are held out to evaluate on."""

import random
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from rocoft_bench.config import CountFromZero, TaskConfig
from rocoft_bench.config.paths import SettingPath
from rocoft_bench.config.schema import Share
from rocoft_bench.errors import UserError, shortened
from rocoft_bench.models.hub import newest_commit
from rocoft_bench.tasks.data import HubDataset, columns_on_hub, read_hub
from rocoft_bench.tasks.readers import RawRows, read_own_rows
from rocoft_bench.tasks.task import Task
from rocoft_bench.untrusted.data_files import FORMS

TRAIN, EVALUATION, HELD_OUT = "train", "evaluation", "held-out"
"""The splits: of their own source, or a part of the training examples."""

OF_DATASET = ("dataset_config", "dataset_revision", "dataset_split", "dataset_eval_split")
"""Settings that say something of `dataset` alone."""

_NAME = re.compile(r"\w[\w.-]*")


class OwnConfig(TaskConfig):
    """The `task` section of a config."""

    train_file: SettingPath | None = None
    """File with the examples to train on, recorded as its full path."""
    eval_file: SettingPath | None = None
    """File with the examples to evaluate on; without one, a part of the training examples is held out."""
    dataset: str | None = None
    """Dataset on the Hugging Face hub (owner/name) instead of files."""
    dataset_config: str | None = None
    """Configuration of that dataset, where it has several."""
    dataset_revision: str | None = None
    """Commit of that dataset; by default the newest, which is recorded."""
    dataset_split: str = "train"
    """Split of that dataset to train on."""
    dataset_eval_split: str | None = None
    """Split of that dataset to evaluate on; without one, a part of the training examples is held out."""
    text_column: str = "text"
    """Column with the text."""
    text_pair_column: str | None = None
    """Column with a second text, where there is one."""
    label_column: str = "label"
    """Column with what is to be answered."""
    eval_share: Annotated[Share, Field(gt=0)] = 0.1
    """Share of the training examples that is held out where there are none to evaluate on."""
    split_seed: CountFromZero = 0
    """Seed of that choice, apart from the run's, so that runs with other seeds are evaluated on the same examples."""

    @model_validator(mode="before")
    @classmethod
    def _named_by_its_examples(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("name") is not None:
            return values
        source = values.get("train_file") or values.get("dataset") or values.get("family")
        return {**values, "name": name_of_file(str(source))}

    @field_validator("text_column", "text_pair_column", "label_column", "messages_column", check_fields=False)
    @classmethod
    def _names_a_column(cls, name: str | None) -> str | None:
        if name == "":
            raise ValueError("must be the name of a column")
        return name

    @field_validator("name")
    @classmethod
    def _fit_for_a_folder(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("must consist of letters, digits and any of ._-")
        return name


def name_of_file(source: str) -> str:
    """What a task is called by its file or dataset.

    >>> name_of_file("data/My reviews.csv.gz"), name_of_file("owner/set")
    ('My-reviews', 'set')
    """
    name = Path(source).name
    ending = max((form for form in FORMS if name.lower().endswith(form)), key=len, default="")
    return re.sub(r"[^\w.-]+", "-", name[: len(name) - len(ending)]).strip("-.") or "examples"


@dataclass(frozen=True, kw_only=True)
class OwnTask(Task):
    """A task that its settings make: one without them has the properties of the family alone.

    A family names the adapter as its first base, so that the adapter's columns and metrics go before those of `Task`.

    config: the settings, an `OwnConfig`; None in a task that is not `bound` to any.
    """

    Settings: ClassVar[type[TaskConfig]] = OwnConfig
    own_columns: ClassVar[tuple[str, str | None, str]]
    """What the adapter calls the text, the second text (None where it takes one alone) and the label."""

    config: Any = None

    @property
    def source(self) -> str:
        if self.config is None:
            return "your own files, or a dataset of the hub"
        return str(self.config.train_file or self.config.dataset)

    def bound(self, settings: Any) -> tuple[Self, Any]:
        """See `Task.bound`. Raises: UserError where the settings do not say where the examples are, or do so twice."""
        _check_source(settings)
        hub = None
        if settings.dataset is not None:
            revision = settings.dataset_revision or newest_commit(settings.dataset)
            settings = settings.model_copy(update={"dataset_revision": revision})
            hub = HubDataset(settings.dataset, settings.dataset_config, revision)
        eval_split = EVALUATION if settings.eval_file or settings.dataset_eval_split else HELD_OUT
        task = replace(self, name=settings.name, config=settings, eval_split=eval_split, hub=hub)
        if self.own_columns[1] is None and settings.text_pair_column is not None:
            raise UserError(f"task.text_pair_column = {settings.text_pair_column}: {self.family} takes one text")
        names = list(task._user_columns.values())
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(
                f'column "{shortened(twice[0])}" is named twice; text, text pair and label are columns apart'
            )
        return task, settings

    @property
    def _user_columns(self) -> dict[str, str]:
        """What the user calls the columns that are read, by what the adapter calls them."""
        given = (self.config.text_column, self.config.text_pair_column, self.config.label_column)
        return {ours: theirs for ours, theirs in zip(self.own_columns, given, strict=True) if ours and theirs}

    def called(self, column: str) -> str:
        return self._user_columns.get(column, column)

    @property
    def _needed(self) -> Sequence[str]:
        """Columns, as the adapter calls them, without which a row is left out."""
        return [name for name in self._user_columns if name != self.own_columns[1]]

    def _read(self, split: str, data_dir: Path | None) -> RawRows:
        rows = self._source_rows(TRAIN if split == HELD_OUT else split)
        if self.eval_split == HELD_OUT:
            return self._part(rows, split)
        return replace(rows, notes=(*rows.notes, *self._known(rows))) if split == EVALUATION else rows

    def _source_rows(self, split: str) -> RawRows:
        """All rows of a source that are complete, with the adapter's names for their columns."""
        names, config = self._user_columns, self.config
        file = config.train_file if split == TRAIN else config.eval_file
        if file is not None:
            raw = _rows_of_file(file, _state_of(file), tuple(names.values()))
        else:
            assert self.hub is not None, "bound to a dataset or to files"
            part = config.dataset_split if split == TRAIN else str(config.dataset_eval_split)
            raw = read_hub(self.hub, part, tuple(names.values()), label_names=True)
        columns = {ours: raw.columns[theirs] for ours, theirs in names.items()}
        return _complete(replace(raw, columns=columns, called=names), self._needed)

    def _found_columns(self) -> list[str]:
        """The columns of the training examples. Raises: UserError where these cannot be read."""
        if self.config.train_file is not None:
            return list(read_own_rows(self.config.train_file).columns)
        assert self.hub is not None, "bound to a dataset or to files"
        return columns_on_hub(self.hub, self.config.dataset_split)

    def _part(self, rows: RawRows, split: str) -> RawRows:
        """The part of the rows that is trained on, or is held out."""
        config, strata = self.config, self._strata(rows)
        held = held_out(self._texts(rows), strata, config.eval_share, config.split_seed)
        chosen = [row for row in range(len(rows.places)) if (row in held) == (split == HELD_OUT)]
        if not chosen:
            raise UserError(
                f"{rows.source}: {len(rows.places)} examples, {len(set(self._texts(rows)))} of them different, are too "
                f"few to hold out a share of {config.eval_share:g} for evaluation and train on the rest; give some to "
                "evaluate on (--eval-file), or another task.eval_share"
            )
        note = (
            f"no evaluation examples were given: {len(held):,} of the {len(rows.places):,} examples of "
            f"{Path(rows.source).name} are held out{', stratified by label' if any(strata) else ''} "
            f"(eval_share {config.eval_share:g}, split_seed {config.split_seed})"
        )
        return replace(rows.selected(chosen), notes=(note,) if split == HELD_OUT else rows.notes)

    def _strata(self, rows: RawRows) -> Sequence[str]:
        """For each row what it is a case of: of all cases about the same share is held out."""
        return [""] * len(rows.places)

    def _texts(self, rows: RawRows) -> list[tuple[str, ...]]:
        """The texts of each row, by which it is another row's duplicate."""
        return list(zip(*(map(str, rows.columns[name]) for name in self._text_names), strict=True))

    @property
    def _text_names(self) -> list[str]:
        return [name for name in self._user_columns if name != self.own_columns[2]]

    def _known(self, rows: RawRows) -> list[str]:
        """A note of the evaluation examples that are among those to train on."""
        with suppress(UserError):  # a model can be evaluated where what it was trained on is not
            trained = set(self._texts(self._source_rows(TRAIN)))
            count = sum(texts in trained for texts in self._texts(rows))
            if count:
                return [f"{count:,} of {len(rows.places):,} evaluation examples are among the training examples too"]
        return []

    def _files(self, split: str, data_dir: Path | None) -> list[Path]:
        file = self.config.eval_file if split == EVALUATION else self.config.train_file
        return [file] if file is not None else []

    def _hash_name(self, split: str) -> str:
        """Of the training examples, those that are held out are no part."""
        how = self.config.model_dump_json(exclude={"train_file", "eval_file", "name", "max_length"})
        return f"{super()._hash_name(split)} {split}, with {self.eval_split}, by {how}"


def _check_source(settings: OwnConfig) -> None:
    """Raises: UserError where it is not said, once, where the examples are."""
    if settings.data_dir is not None:
        raise UserError(f"task.data_dir = {settings.data_dir}: own examples are named by task.train_file")
    if settings.train_file is None and settings.dataset is None:
        raise UserError(
            "task.train_file is missing: name the file with your examples (--train-file), or a dataset of the hub "
            "(--dataset owner/name)"
        )
    if settings.dataset is not None and settings.train_file is not None:
        raise UserError(f"task.dataset = {settings.dataset}, task.train_file = {settings.train_file}: give one of them")
    of_dataset = {name: getattr(settings, name) for name in OF_DATASET if settings.dataset is None}
    for name, value in of_dataset.items():
        if value != type(settings).model_fields[name].default:
            raise UserError(f"task.{name} = {value}: is of a dataset of the hub, and the examples are in files")


def _state_of(file: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        state = file.stat()
        return state.st_size, state.st_mtime_ns
    return None


@lru_cache(maxsize=2)
def _rows_of_file(file: Path, state: tuple[int, int] | None, wanted: tuple[str, ...]) -> RawRows:
    """state: of the file, which is read again where it has changed."""
    return replace(read_own_rows(file, wanted), origin={"kind": "file", "path": str(file)})


def is_missing(cell: Any) -> bool:
    """Whether a cell holds nothing: null, as pandas writes it (NaN), or blanks.

    >>> [is_missing(cell) for cell in (None, float("nan"), "  ", 0, False, "0")]
    [True, True, True, False, False, False]
    """
    return cell is None or cell != cell or (isinstance(cell, str) and not cell.strip())


def _complete(rows: RawRows, needed: Sequence[str]) -> RawRows:
    """The rows in which nothing needed is missing; a second text that is missing is an empty one.

    Raises: UserError where none is left.
    """
    columns = {
        name: cells if name in needed else ["" if is_missing(cell) else cell for cell in cells]
        for name, cells in rows.columns.items()
    }
    rows, notes = replace(rows, columns=columns), []
    for name in needed:
        kept = [row for row, cell in enumerate(rows.columns[name]) if not is_missing(cell)]
        if not kept:
            raise UserError(f'{rows.source}: "{rows.called[name]}" is empty in every row')
        if lost := len(rows.places) - len(kept):
            first = rows.places[min(set(range(len(rows.places))) - set(kept))]
            notes.append(
                f'rows of {Path(rows.source).name} left out for lack of "{rows.called[name]}": {lost:,} '
                f"(the first: {rows.unit} {first})"
            )
            rows = rows.selected(kept)
    return replace(rows, notes=tuple(notes))


def held_out(texts: Sequence[Hashable], strata: Sequence[str], share: float, seed: int) -> set[int]:
    """Numbers of the rows to evaluate on: of each stratum about `share`, and of more than one row at least one.

    Rows with the same texts stay together, so that none is trained on and evaluated on.

    >>> sorted(held_out("abcdefgh", "xxxxyyyy", 0.25, 0)), held_out("aabb", "xxxx", 0.5, 0) in ({0, 1}, {2, 3})
    ([2, 4], True)
    """
    same: dict[Hashable, list[int]] = defaultdict(list)
    for row, text in enumerate(texts):
        same[text].append(row)
    of_stratum: dict[str, list[list[int]]] = defaultdict(list)
    for rows in same.values():
        of_stratum[strata[rows[0]]].append(rows)
    choice = random.Random(seed)
    held: set[int] = set()
    for stratum in sorted(of_stratum):
        members = of_stratum[stratum]
        choice.shuffle(members)
        if len(members) > 1:
            held.update(_about(share, members))
    return held


def _about(share: float, groups: Sequence[list[int]]) -> list[int]:
    """Rows of the first groups that fit into the share of all rows; of the smallest group, where none fits.

    >>> _about(0.3, [[0, 1, 2, 3], [4], [5, 6], [7], [8, 9]]), _about(0.1, [[0, 1, 2, 3], [4, 5]])
    ([4, 5, 6], [4, 5])
    """
    wanted = max(1, round(share * sum(map(len, groups))))
    chosen: list[int] = []
    for rows in groups:
        if len(chosen) + len(rows) <= wanted:
            chosen += rows
    return chosen or min(groups, key=len)
