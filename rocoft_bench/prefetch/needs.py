"""What configs need from the internet: fetched into the cache beforehand, or asked for without fetching it; and which
runs of a sweep cannot start because it is neither in the cache nor to be had.

Fetching uses the loading code of a run (splits) or proves that it will find all it needs (models), so that the run
itself can go where there is no internet.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

from rocoft_bench import models
from rocoft_bench.config import ModelConfig
from rocoft_bench.errors import UserError, reason
from rocoft_bench.experiment.resolve import Experiment
from rocoft_bench.models.hub import (
    WAYS_OUT,
    ensure_reachable,
    from_cache_or_hub,
    has_cached,
    hub_errors,
    no_network,
    out_of_reach,
)
from rocoft_bench.models.weights import WEIGHT_FILES, conversion, find_on_hub, missing_files
from rocoft_bench.tasks import OWN_FAMILIES, HubDataset, Task, instructions
from rocoft_bench.tasks.github import GitHubFiles
from rocoft_bench.tasks.readers import require_columns

MODEL_FILES = (
    *("config.json", "generation_config.json", "chat_template*"),
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
    *WEIGHT_FILES,
)
"""What transformers reads of a model whose weights are safetensors; weights in other formats are never loaded."""
OTHER_FILES = "*/*"
"""Folders hold the same model for other programs."""

_SECONDS = 30.0


@dataclass(frozen=True)
class Found:
    """What was found, in words, and its size in bytes; 0 where nothing is to be fetched or the size is not known."""

    detail: str
    size: int = 0


@dataclass(frozen=True, kw_only=True)
class Need(ABC):
    """Something that a run loads.

    what: its name; equal names are one thing. source: what it is part of. endpoint: where that is; None for the hub.
    """

    what: str
    source: str
    endpoint: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether nothing has to be fetched, as far as the local cache tells without opening it."""
        return True

    def lacks(self, trouble: Callable[[str | None], str]) -> str:
        """Why a run cannot have it; empty where it can. trouble: what keeps from an endpoint."""
        why = "" if self.is_here else trouble(self.endpoint)
        return f"{self.source} is not in the local cache and {why}; {WAYS_OUT}" if why else ""

    @abstractmethod
    def fetch(self) -> Found:
        """Bring it into the cache, if it is not there, and see that it can be used. Raises: UserError if it cannot."""

    def check(self) -> Found:
        """Ask whether it could be fetched, where fetching it takes long. Raises: UserError if it could not."""
        return self.fetch()


def needs(experiments: Iterable[Experiment]) -> list[Need]:
    """What the experiments load, each thing once.

    Raises: UserError where the name of a model, or of rows to train on, stands for nothing.
    """
    found: dict[str, Need] = {}
    model_of = cache(_model)  # the runs of a sweep share a few models, and some take a while to find
    for experiment in experiments:
        for need in _needs_of(experiment, model_of):
            found.setdefault(need.what, need)
    return list(found.values())


def unavailable(runs: Mapping[str, Sequence[Experiment]]) -> dict[str, str]:
    """Of runs by name, each with the experiments that it makes, those that lack what is out of reach, or examples in
    local files that can be used, and why.

    The hub and GitHub are asked only if something is not in the local cache; what is the same is looked for once.
    """
    model_of, trouble = cache(_model), cache(out_of_reach)
    known: dict[str, str] = {}
    refused = {}
    for name, experiments in runs.items():
        for need in _all_needs(experiments, model_of):
            key = repr(need)  # two tasks may read one file, each in its own way
            if key not in known:
                known[key] = need.lacks(trouble)
            if known[key]:
                refused[name] = known[key]
                break
    return refused


def _all_needs(experiments: Iterable[Experiment], model_of: Callable[[ModelConfig], Need]) -> Iterator[Need]:
    for experiment in experiments:
        with suppress(UserError):  # the run itself says so
            yield from _needs_of(experiment, model_of)


def _needs_of(experiment: Experiment, model_of: Callable[[ModelConfig], Need]) -> Iterator[Need]:
    yield model_of(experiment.config.model)
    data_dir = experiment.config.task.data_dir
    for task, split in experiment.task.splits(experiment.config.task):
        yield _split(task, split, data_dir)


# Models


class LocalModel(Need):
    """A model in a folder, or one that came with an installed package."""

    def fetch(self) -> Found:
        return Found("nothing to fetch")


@dataclass(frozen=True, kw_only=True)
class HubModel(Need):
    """Configuration, tokenizer and safetensors weights of a model on the hub."""

    id: str
    revision: str

    @property
    def is_here(self) -> bool:
        return has_cached("model", self.id)

    def fetch(self) -> Found:
        return self._reach(self._fetch)

    def check(self) -> Found:
        return self._reach(self._ask)

    def _reach(self, load: Callable[[], Found]) -> Found:
        from huggingface_hub.errors import GatedRepoError

        try:
            return from_cache_or_hub(self.what, load)
        except UserError as error:
            if isinstance(error.__cause__, GatedRepoError):
                raise UserError(
                    f"{self.what}: its authors give it to those who accept the licence: do so, logged in, on "
                    f"https://huggingface.co/{self.id}, then run `hf auth login` here, or set HF_TOKEN, with a token "
                    "of the same account"
                ) from error
            raise

    def _fetch(self) -> Found:
        """What is missing raises OSError, as everywhere in the hub's library."""
        from huggingface_hub import snapshot_download
        from transformers import AutoConfig, AutoTokenizer

        wanted: dict[str, Any] = {"allow_patterns": list(MODEL_FILES), "ignore_patterns": [OTHER_FILES]}
        folder = Path(snapshot_download(self.id, revision=self.revision, **wanted))
        converted = conversion(self.id, self.revision)
        if converted is None and (missing := missing_files(folder)):
            raise FileNotFoundError(f"there is no {', no '.join(missing)}")
        with no_network():
            AutoConfig.from_pretrained(self.id, revision=self.revision, trust_remote_code=False)
            AutoTokenizer.from_pretrained(self.id, revision=self.revision, trust_remote_code=False)
        folders = [folder, converted.folder] if converted else [folder]
        sizes = {file.name: file.stat().st_size for folder in folders for file in folder.iterdir()}
        return _found(sizes, converted.ref if converted else None)

    def _ask(self) -> Found:
        sizes, ref = self._sizes(self.revision), None
        if not any(_is_weights(name) for name in sizes):
            ref = find_on_hub(self.id, self.revision)
            sizes |= {name: size for name, size in self._sizes(ref).items() if _is_weights(name)}
        return _found(sizes, ref)

    def _sizes(self, revision: str) -> dict[str, int]:
        """The size of each file of the repository."""
        from huggingface_hub import HfApi

        info = HfApi().model_info(self.id, revision=revision, files_metadata=True)
        if info.gated:  # then the list of files is public, the files are not
            HfApi().auth_check(self.id)
        return {file.rfilename: file.size or 0 for file in info.siblings or []}


def _model(config: ModelConfig) -> Need:
    source = models.locate(config)
    if source.revision is None:
        name = f"model {source.embedded_as or source.path}"
        return LocalModel(what=name, source=name)
    name = f"model {source.path}"
    return HubModel(what=f"{name} @ {source.revision[:10]}", source=name, id=source.path, revision=source.revision)


def _found(sizes: dict[str, int], ref: str | None) -> Found:
    """sizes: of files, also of such as no run loads. ref: of the conversion that the weights are from."""
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]  # documented there

    loaded = filter_repo_objects(sizes, allow_patterns=list(MODEL_FILES), ignore_patterns=[OTHER_FILES])
    weights = f", weights from the conversion {ref}" if ref else " and weights"
    return Found(f"configuration, tokenizer{weights}", sum(sizes[name] for name in loaded))


def _is_weights(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in WEIGHT_FILES)


# Splits


@dataclass(frozen=True, kw_only=True)
class SplitNeed(Need):
    """A split of a task, as a run loads it; as it stands, of a dataset of the user's own on the hub."""

    task: Task
    split: str
    data_dir: Path | None

    def fetch(self) -> Found:
        return self._counted(self._count())

    def _count(self) -> int:
        return len(self.task.load(self.split, self.data_dir).examples)

    def _counted(self, count: int, size: int = 0) -> Found:
        expected = self.task.split_sizes.get(self.split)
        if expected not in (None, count):
            raise UserError(f"{self.what}: {count:,} rows instead of {expected:,}")
        return Found(f"{count:,} rows", size)


class LocalSplit(SplitNeed):
    """One that comes from files or with the package."""

    def lacks(self, trouble: Callable[[str | None], str]) -> str:
        try:
            if self.data_dir is not None or self.task.made_by is None:
                self.task.sha256_of(self.split, self.data_dir)  # known already where the file has not changed
        except UserError as error:
            return str(error)
        return ""

    def fetch(self) -> Found:
        return Found(f"nothing to fetch; {self._count():,} rows")


@dataclass(frozen=True, kw_only=True)
class HubSplit(SplitNeed):
    hub: HubDataset

    @property
    def is_here(self) -> bool:
        return has_cached("dataset", self.hub.id)

    def check(self) -> Found:
        """By the dataset's card, which tells columns and row counts of most datasets."""
        info = from_cache_or_hub(self.what, self._card)
        own, columns = self.task.on_hub(self.split)
        if info.features is not None:
            require_columns(self.what, info.features, columns)
        if info.splits is None:
            return Found("its card tells no row counts")
        if own not in info.splits:
            raise UserError(f"{self.what}: no such split; there: {', '.join(info.splits)}")
        split = info.splits[own]
        return self._counted(split.num_examples, split.num_bytes or 0)

    def _card(self) -> Any:
        from datasets import load_dataset_builder
        from datasets.exceptions import DatasetsError
        from huggingface_hub import HfApi

        HfApi().dataset_info(self.hub.id, revision=self.hub.revision)  # `datasets` would take another commit too
        try:
            return load_dataset_builder(self.hub.id, self.hub.config, revision=self.hub.revision).info
        except (DatasetsError, RuntimeError) as error:
            raise OSError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class GitHubSplit(SplitNeed):
    files: GitHubFiles
    path: str

    @property
    def is_here(self) -> bool:
        return self.files.cached(self.path).is_file()

    def check(self) -> Found:
        from huggingface_hub import get_session

        ensure_reachable(self.what, self.files.endpoint)
        url = f"{self.files.endpoint}/{self.files.repo}/{self.files.commit}/{self.path}"
        try:
            response = get_session().head(url, timeout=_SECONDS)
            response.raise_for_status()
        except hub_errors() as error:
            raise UserError(f"{self.what}: {reason(error)}") from error
        return Found("rows", int(response.headers.get("Content-Length", 0)))


def _split(task: Task, split: str, data_dir: Path | None) -> Need:
    loaded: dict[str, Any] = {"task": task, "split": split, "data_dir": data_dir}
    if task.family in OWN_FAMILIES:
        kind = LocalSplit if task.hub is None else SplitNeed
        return kind(what=f"{task.source}, {split}", source=task.source, **loaded)
    if data_dir is None and isinstance(task, instructions.InstructionTask) and task.path is not None:
        files, path = instructions.LLM_ADAPTERS, task.path.format(split=split)
        source = f"{path} of {files.repo}"
        what = f"{source} @ {files.commit[:10]}"
        return GitHubSplit(what=what, source=source, endpoint=files.endpoint, files=files, path=path, **loaded)
    if data_dir is None and task.hub is not None:
        name = " ".join(filter(None, (task.hub.id, task.hub.config)))
        what = f"dataset {name} @ {task.hub.revision[:10]}, {split}"
        return HubSplit(what=what, source=f"dataset {task.hub.id}", hub=task.hub, **loaded)
    source = f"{task.family} {task.folder or task.name} {f'in {data_dir}' if data_dir else 'of the package'}"
    return LocalSplit(what=f"{source}, {split}", source=source, **loaded)
